"""What the equations act on: states of networks, parameters, covariances of data."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


if TYPE_CHECKING:
    Scalar = float | Array
    Numbers = Weights = Any  # a checker cannot see that floats and arrays share their operators
else:
    Scalar = Float[ArrayLike, ""] | int
    Numbers = Float[ArrayLike, "..."] | int  # one, or one for each mode or solve
    Weights = Float[ArrayLike, " *modes"]  # of one shape within a state


class Params(eqx.Module):
    """The hyperparameters of the flow. `eta` sets both weight decays."""

    alpha_p: Numbers  # learning rate of the predictor over that of the encoder
    beta: Numbers  # rate of the EMA, over the learning rate of the encoder
    eta_p: Numbers  # weight decay of the predictor
    eta_s: Numbers  # weight decay of the encoder
    sigma2: Numbers  # variance that the augmentation adds, X' = sigma2 I
    tau: Numbers  # Wa = tau W, where a flow holds it fixed

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
    """The two covariances through which the population loss knows the data."""

    X: Float[Array, "*solves n1 n1"]  # of the mean of an example's views
    X_aug: Float[Array, "*solves n1 n1"]  # X', of a view about that mean


class Views(eqx.Module):
    """Two views of each example of a batch, in columns."""

    online: Float[Array, "*solves n1 samples"]
    target: Float[Array, "*solves n1 samples"]


class Correlations(eqx.Module):
    """Data that is diagonal together with the networks: one pair for each mode."""

    same: Numbers  # l_s, eigenvalue of X + X' = E[x1 x1^T]
    across: Numbers  # l_d, eigenvalue of X = E[x1 x2^T]


class Full(eqx.Module):
    W: Float[Array, "*solves n2 n1"]
    Wp: Float[Array, "*solves n2 n2"]
    Wa: Float[Array, "*solves n2 n1"]


class Online(eqx.Module):
    """The online network alone, where the target is a copy of it."""

    W: Float[Array, "*solves n2 n1"]
    Wp: Float[Array, "*solves n2 n2"]


class Moments(eqx.Module):
    F: Float[Array, "*solves n2 n2"]
    Wp: Float[Array, "*solves n2 n2"]


class Modes(eqx.Module):
    """Any number of decoupled modes, each one predictor, encoder and target weight.

    s = w^2 and tau = wa / w. In (p, w, wa) the flow is a polynomial; in (p, s, tau) it
    diverges wherever w passes through zero.
    """

    p: Weights
    w: Weights
    wa: Weights

    @classmethod
    def of(cls, *, p: Numbers, s: Numbers, tau: Numbers) -> "Modes":
        """Modes with the eigenvalues p of Wp and s >= 0 of F. They broadcast."""
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
    """The eigenvalues alone, where tau is held fixed: points of the (p, s) plane."""

    p: Weights
    s: Weights


class Curriculum(eqx.Module):
    """The parabola s = p^2 / alpha_p with a moving target: the (p, tau) plane."""

    p: Weights
    tau: Weights


def _inexact(x):
    x = jnp.asarray(x)
    return x.astype(jnp.result_type(x, float))
