"""What a training loop measures, as arrays on the device."""

import equinox as eqx
from jaxtyping import Array, Float

from lindyn.theory import theorems


Matrix = Float[Array, "d d"]


class Record(eqx.Module):
    """What is measured on the way, for one dispatch."""

    loss: Float[Array, " steps"]
    gradient: Float[Array, " steps"]  # its norm
    batch: "OfBatch"  # the last
    running: Matrix  # the running estimate of E[f f^T], with rho
    Wp: Matrix
    layers: theorems.Layers | None  # with `sgd`, as is the next
    balance: theorems.Ledger | None
    W: Float[Array, "d inputs"]  # the projector's last layer, its bias as one more column
    Wa: Float[Array, "d inputs"]  # the target's
    tau: Float[Array, ""]  # <Wa, W>/<W, W>, over all of the branch's matrices


class OfBatch(eqx.Module):
    """Moments of a batch, not centred. f are outputs of the projector, f_a of the target."""

    F: Float[Array, "*steps d d"]  # E[f f^T] over both views
    across: Float[Array, "*steps d d"]  # E[f_1 f_2^T] of the two views, symmetric
    cross: Float[Array, "*steps d d"]  # E[f_a f^T], each view with the target of the other
    mean: Float[Array, "*steps d"]  # E[f]
    power: Float[Array, "*steps"]  # E|f_a|^2
