"""The types of the equations' arguments: states of networks, parameters and data.

Read this module first in this folder. Fields of a state may have leading batch axes, as the
annotations show.
"""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


if TYPE_CHECKING:
    Scalar = float | Array
    # A type checker cannot see that floats and arrays share their operators.
    Numbers = Weights = Any
else:
    Scalar = Float[ArrayLike, ""] | int
    Numbers = Float[ArrayLike, "..."] | int  # one number, or one for each mode or solve
    Weights = Float[ArrayLike, " *modes"]  # all weights of a state have the same shape


class Params(eqx.Module):
    """The hyperparameters of the flow.

    The argument `eta` sets both weight decays. The arguments `eta_p` and `eta_s` override it.

    Example:

        >>> import lindyn as ld
        >>> params = ld.Params(alpha_p=2.0, eta=0.04, eta_p=0.08)
        >>> params.eta_p, params.eta_s
        (0.08, 0.04)
    """

    alpha_p: Numbers  # learning rate of the predictor / learning rate of the encoder
    beta: Numbers  # rate of the EMA / learning rate of the encoder
    eta_p: Numbers  # weight decay of the predictor
    eta_s: Numbers  # weight decay of the encoder
    sigma2: Numbers  # variance that the augmentation adds, X' = sigma2 I
    tau: Numbers  # Wa = tau W; used only by flows that hold tau fixed

    def __init__(
        self,
        *,
        alpha_p: Numbers = 1.0,
        beta: Numbers = 0.4,
        eta: Numbers = 0.0,
        sigma2: Numbers = 0.0,
        tau: Numbers = 1.0,
        eta_p: Numbers | None = None,
        eta_s: Numbers | None = None,
    ):
        self.alpha_p = alpha_p
        self.beta = beta
        self.eta_p = eta if eta_p is None else eta_p
        self.eta_s = eta if eta_s is None else eta_s
        self.sigma2 = sigma2
        self.tau = tau


class Data(eqx.Module):
    """The two covariances of the data, which determine the population loss (1)."""

    X: Float[Array, "*solves n1 n1"]  # covariance of the mean over an example's views
    X_aug: Float[Array, "*solves n1 n1"]  # X', mean covariance of a view about that mean


class Views(eqx.Module):
    """Two views of each example of a batch. Each column is one view of one example."""

    online: Float[Array, "*solves n1 samples"]
    target: Float[Array, "*solves n1 samples"]


class Correlations(eqx.Module):
    """Data that is diagonal in the basis of the networks: two eigenvalues for each mode."""

    same: Numbers  # l_s, eigenvalue of X + X' = E[x1 x1^T]
    across: Numbers  # l_d, eigenvalue of X = E[x1 x2^T]


class Full(eqx.Module):
    """The encoder W, the predictor Wp and the target Wa."""

    W: Float[Array, "*solves n2 n1"]
    Wp: Float[Array, "*solves n2 n2"]
    Wa: Float[Array, "*solves n2 n1"]


class Online(eqx.Module):
    """The online network alone: encoder W and predictor Wp. The target is a copy of W."""

    W: Float[Array, "*solves n2 n1"]
    Wp: Float[Array, "*solves n2 n2"]


class Moments(eqx.Module):
    """The correlation F = W X W^T of the predictor's input, and the predictor Wp."""

    F: Float[Array, "*solves n2 n2"]
    Wp: Float[Array, "*solves n2 n2"]


class Modes(eqx.Module):
    """Any number of decoupled modes. Each has a predictor weight p, encoder w and target wa.

    s = w^2 and tau = wa/w. The flow is a polynomial in (p, w, wa), whereas in (p, s, tau) it
    diverges where w passes through zero.
    """

    p: Weights
    w: Weights
    wa: Weights

    @classmethod
    def of(cls, *, p: Numbers, s: Numbers, tau: Numbers) -> "Modes":
        """Modes with the eigenvalues p of Wp and s >= 0 of F, and tau = wa/w.

        The three arguments are broadcast to one shape.

        Example:

            >>> import lindyn as ld
            >>> mode = ld.Modes.of(p=0.5, s=0.25, tau=0.2)
            >>> [round(float(x), 6) for x in (mode.p, mode.w, mode.wa)]
            [0.5, 0.5, 0.1]
        """
        p, s, tau = jnp.broadcast_arrays(*map(_inexact, (p, s, tau)))
        w = jnp.sqrt(s)
        return cls(p=p, w=w, wa=tau * w)

    @property
    def s(self) -> Array:
        return jnp.square(self.w)

    @property
    def tau(self) -> Array:
        return jnp.divide(self.wa, self.w)


class Plane(eqx.Module):
    """The eigenvalues p of Wp and s of F at fixed tau: points of the (p, s) plane."""

    p: Weights
    s: Weights


class Curriculum(eqx.Module):
    """Points (p, tau) on the parabola s = p^2/alpha_p with a moving target."""

    p: Weights
    tau: Weights


def _inexact(x):
    x = jnp.asarray(x)
    return x.astype(jnp.result_type(x, float))
