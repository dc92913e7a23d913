"""The quantities that a training loop measures, as arrays on the device.

`writing` turns them into the files of a run.
"""

import equinox as eqx
from jaxtyping import Array, Float

from lindyn.theory import theorems


Matrix = Float[Array, "d d"]


class Record(eqx.Module):
    """Measurements of one dispatch, which makes one or more training steps.

    Losses and gradient norms are those of all its steps, the rest those of its last step.
    """

    loss: Float[Array, " steps"]
    gradient: Float[Array, " steps"]  # norm of the whole gradient
    batch: "OfBatch"  # moments of the last batch
    running: Matrix  # running average of E[f f^T], where rho is the weight of its past
    Wp: Matrix
    layers: theorems.Layers | None  # None if the training method has no `sgd`
    balance: theorems.Ledger | None  # None likewise
    W: Float[Array, "d inputs"]  # the projector's last layer, its bias as one more column
    Wa: Float[Array, "d inputs"]  # the same layer of the target
    tau: Float[Array, ""]  # <Wa, W>/<W, W> over all matrices and filters of the branch


class OfBatch(eqx.Module):
    """Moments of a batch, not centred. f is the projector's output, and f_a the target's."""

    F: Float[Array, "*steps d d"]  # E[f f^T] over both views
    across: Float[Array, "*steps d d"]  # E[f_1 f_2^T] of the two views, symmetrised
    cross: Float[Array, "*steps d d"]  # E[f_a f^T], where f_a is the target of the other view
    mean: Float[Array, "*steps d"]  # E[f] over both views
    power: Float[Array, "*steps"]  # E|f_a|^2
