"""Fig. 8: a predictor that is not kept symmetric, (62)-(63), becomes symmetric.

The paper's claim: if F = Wp^T Wp initially, the antisymmetric part of Wp decays while the
symmetric part stays. If F = Wp^T Wp / alpha_p, which the flow preserves, the norm of the
antisymmetric part is below e^(-eta t) times its initial value (derived; the dotted line). Look
at the dashed lines: most of the time they fall far faster, because of the modes that grow; the
remaining part lies among modes that collapse.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import drawing
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from matplotlib.figure import Figure

from lindyn import plot
from lindyn.solve import ensemble
from lindyn.theory import fields
from lindyn.theory.states import Moments, Params


@dataclasses.dataclass(frozen=True)
class Setting:
    etas: tuple[float, ...] = (0.001, 0.01, 0.05)
    taus: tuple[float, ...] = (0.4, 0.7, 1.0)  # ours
    alpha_p: float = 1.0  # ours
    sigma2: float = 0.0  # ours
    size: int = 10  # ours
    scale: float = 1.0  # ours: entries of Wp(0) are normal, scale^2 / size
    runs: int = 10  # ours
    seed: int = 0
    time: float = 60.0  # ours
    points: int = 301


QUICK = Setting(runs=3, size=6, points=61)


class Parts(NamedTuple):
    """Frobenius norms of the parts of Wp; axes (eta, tau, run, time)."""

    ts: np.ndarray
    symmetric: np.ndarray
    antisymmetric: np.ndarray


def compute(setting: Setting) -> Parts:
    shape = (len(setting.etas), len(setting.taus), setting.runs)
    eta, tau, run = (x.ravel() for x in np.indices(shape))
    drawn = jr.normal(jr.key(setting.seed), (setting.runs, setting.size, setting.size))
    Wp = setting.scale / np.sqrt(setting.size) * drawn[run]
    params = Params(
        alpha_p=setting.alpha_p,
        eta=np.array(setting.etas)[eta],
        sigma2=setting.sigma2,
        tau=np.array(setting.taus)[tau],
    )
    ts = np.linspace(0.0, setting.time, setting.points)
    start = Moments(F=jnp.swapaxes(Wp, -2, -1) @ Wp / setting.alpha_p, Wp=Wp)
    # The tolerances are tight, since one part of Wp becomes far smaller than the other.
    options: Any = dict(rtol=1e-12, atol=1e-14, quick=True)
    Wp = ensemble.states(fields.moments_asymmetric, start, params, ts, **options).y.Wp
    other = np.swapaxes(Wp, -2, -1)
    norm = lambda x: np.linalg.norm(x, axis=(-2, -1)).reshape(*shape, -1)
    return Parts(ts, norm((Wp + other) / 2), norm((Wp - other) / 2))


DASHES, DOTTED = (0, (4, 1.5)), (0, (1, 1.2))


def draw(setting: Setting, parts: Parts) -> Figure:
    fig, axes = drawing.page(1, 3, tall=1.9, gap=0.22, foot=0.92)
    for ax, eta, symmetric, antisymmetric in zip(
        axes[0], setting.etas, parts.symmetric, parts.antisymmetric, strict=True
    ):
        for color, whole, rest in zip(drawing.SCALE[1:], symmetric, antisymmetric, strict=True):
            drawing.band(ax, parts.ts, whole, color, log=True)
            drawing.band(ax, parts.ts, rest, color, log=True, ls=DASHES)
        bound = antisymmetric[0, :, 0].mean() * np.exp(-eta * parts.ts)
        ax.plot(parts.ts, bound, color=plot.INK, lw=1.0, ls=DOTTED)
        ax.set_title(rf"$\eta = {eta:g}$", fontsize=9.5, pad=4)
        ax.set(xlim=(0, setting.time), yscale="log", ylim=(1e-5, 10))
        ax.set_xlabel("$t$", labelpad=2)
        ax.tick_params(labelleft=ax is axes[0, 0])
    axes[0, 0].set_ylabel("Frobenius norm", labelpad=3)
    handles = {
        rf"$\tau = {tau:g}$": drawing.line(color)
        for tau, color in zip(setting.taus, drawing.SCALE[1:], strict=True)
    }
    handles |= {
        r"$(W_p + W_p^\top)/2$": drawing.line(),
        r"$(W_p - W_p^\top)/2$": drawing.line(ls=DASHES),
        r"its bound, by $e^{-\eta t}$": drawing.line(ls=DOTTED),
    }
    drawing.legend(fig, handles)
    ours = rf"$\tau$,  $\alpha_p = {setting.alpha_p:g}$,  $\sigma^2 = {setting.sigma2:g}$"
    ours += rf",  $n = {setting.size}$,  {setting.runs} runs,  $W_p$ normal: ours"
    drawing.note(fig, rf"$F(0) = W_p^\top W_p$   ({ours})")
    return fig


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()
