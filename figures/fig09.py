"""Fig. 9: the misalignment [F, Wp] in the symmetrised flow (7)-(8), and its bound.

The paper's claim: the norm of the commutator can grow strongly if the decay is small or tau is
large, since K of (9) then has negative eigenvalues. Look at the least eigenvalue of K below
each panel: if it is never negative, the bound (10) of Theorem 3 holds (dotted).
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import drawing
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from matplotlib.figure import Figure

from lindyn import plot
from lindyn.solve import ensemble
from lindyn.theory import fields, spectra, theorems
from lindyn.theory.states import Moments, Params


@dataclasses.dataclass(frozen=True)
class Setting:
    etas: tuple[float, ...] = (0.0, 0.05, 0.2)  # ours
    taus: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)  # ours
    alpha_p: float = 1.0  # ours
    sigma2: float = 0.0  # ours
    size: int = 8  # ours
    s0: tuple[float, float] = (0.002, 0.01)  # ours: eigenvalues of F(0), evenly spaced
    p0: tuple[float, float] = (0.1, 0.6)  # ours: eigenvalues of Wp(0), in another basis
    seed: int = 0
    time: float = 30.0  # ours
    points: int = 601


QUICK = Setting(size=4, points=121)


class Misalignment(NamedTuple):
    """Arrays have axes (eta, tau, time)."""

    ts: np.ndarray
    norm: np.ndarray  # norm of [F, Wp]
    least: np.ndarray  # least eigenvalue of K
    bound: np.ndarray  # the bound (10); NaN if K is not positive all the time


def compute(setting: Setting) -> Misalignment:
    shape = (len(setting.etas), len(setting.taus))
    eta, tau = (x.ravel() for x in np.indices(shape))
    F, Wp = _start(setting)
    params = Params(
        alpha_p=setting.alpha_p,
        eta=np.array(setting.etas)[eta],
        sigma2=setting.sigma2,
        tau=np.array(setting.taus)[tau],
    )
    wide = lambda x: jnp.broadcast_to(x, (len(eta), *x.shape))
    ts = np.linspace(0.0, setting.time, setting.points)
    start = Moments(F=wide(F), Wp=wide(Wp))
    y = ensemble.states(fields.moments, start, params, ts, atol=1e-14, quick=True).y
    norm, least = (np.asarray(x).reshape(*shape, -1) for x in _measures(y, params))
    rate = least.min(axis=-1, keepdims=True)
    bound = np.where(rate > 0, norm[..., :1] * np.exp(-2 * rate * ts), np.nan)
    return Misalignment(ts, norm, least, bound)


def _start(setting):
    U = jr.orthogonal(jr.key(setting.seed), setting.size, (2,))
    s, p = (jnp.linspace(low, high, len(U[0])) for low, high in (setting.s0, setting.p0))
    return spectra.compose(U[0], s), spectra.compose(U[1], p)


@eqx.filter_jit
def _measures(y, params):
    """The norm of the commutator and the least eigenvalue of K, for all problems and times."""
    over = jax.tree.map(lambda x: 0 if np.ndim(x) else None, params)

    def one(F, Wp, params):
        K = theorems.alignment_rate(F, Wp, params)
        return spectra.commutator_norm(F, Wp), jnp.linalg.eigvalsh(K)[0]

    lanes = jax.vmap(jax.vmap(one, (0, 0, None)), (0, 0, over))
    return lanes(y.F, y.Wp, params)


def draw(setting: Setting, found: Misalignment) -> Figure:
    fig, axes = drawing.page(2, 3, tall=1.4, gap=0.22, head=0.26, between=-0.12, foot=0.95)
    high, low = found.norm.max(), found.least.min()
    for column, eta in enumerate(setting.etas):
        top, bottom = axes[:, column]
        for i, color in enumerate(drawing.SCALE):
            at = column, i
            top.plot(found.ts, found.norm[at], color=color, lw=1.2)
            top.plot(found.ts, found.bound[at], color=color, lw=1.0, ls=DOTTED)
            bottom.plot(found.ts, found.least[at], color=color, lw=1.2)
        bottom.axhline(0, color=plot.GREY, lw=0.7)
        top.set_title(rf"$\eta = {eta:g}$", fontsize=9.5, pad=4)
        top.set(xlim=(0, setting.time), yscale="log", ylim=(1e-4 * high, 2 * high))
        bottom.set(xlim=(0, setting.time), ylim=(1.15 * low, 1.15 * found.least.max()))
        top.tick_params(labelbottom=False, labelleft=column == 0)
        bottom.tick_params(labelleft=column == 0)
        bottom.set_xlabel("$t$", labelpad=2)
    axes[0, 0].set_ylabel(r"$\|[F, W_p]\|$", labelpad=3)
    axes[1, 0].set_ylabel(r"least eigenvalue of $K$", labelpad=3)
    handles = {
        rf"$\tau = {tau:g}$": drawing.line(color)
        for tau, color in zip(setting.taus, drawing.SCALE, strict=True)
    }
    handles["bound (10), where $K > 0$ throughout"] = drawing.line(ls=DOTTED)
    drawing.legend(fig, handles)
    ours = rf"$\alpha_p = {setting.alpha_p:g}$,  $\sigma^2 = {setting.sigma2:g}$"
    drawing.note(fig, rf"{ours},  $n = {setting.size}$, start, $\tau$ and $\eta$: ours")
    return fig


DOTTED = (0, (1, 1.2))


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()
