"""Fig. 7: does the target stay proportional to the encoder (Wa = tau W) in the flow (2)-(4)?

The paper's claim: the normalised correlation <Wa, W> / (|Wa| |W|) stays high, about 0.9 for
gamma_a = 0.996 and large decay. Look at the dips: the correlation starts at 1, since a target
that starts at zero first copies W, and falls while W turns. Deep dips belong to encoders that
collapse.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import drawing
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from matplotlib.figure import Figure

from lindyn.solve import ensemble
from lindyn.theory import fields
from lindyn.theory.states import Data, Full, Params


@dataclasses.dataclass(frozen=True)
class Setting:
    etas: tuple[float, ...] = (0.0, 0.01, 0.1)
    gammas: tuple[float, ...] = (0.9996, 0.999, 0.996, 0.99)  # ours, except 0.996
    sigma: float = 0.03
    runs: int = 10
    step: float = 0.01  # ours, as in Fig. 5: beta = (1 - gamma_a) / step
    alpha_p: float = 1.0  # ours
    size: int = 10  # ours: n1 = n2
    W_scale: float = 0.1  # ours: entries of W(0) are normal, their variance W_scale^2 / size
    Wp_scale: float = 1.0  # ours: the same for Wp(0)
    seed: int = 0
    time: float = 60.0  # ours
    points: int = 301


QUICK = Setting(runs=4, size=6, points=61)


COLLAPSED = 0.1  # W counts as collapsed below this fraction of its initial norm


class Correlation(NamedTuple):
    ts: np.ndarray
    values: np.ndarray  # (eta, gamma, run, time)
    size: np.ndarray  # final norm of W over its initial norm, (eta, gamma, run)


def compute(setting: Setting) -> Correlation:
    shape = (len(setting.etas), len(setting.gammas), setting.runs)
    lanes = int(np.prod(shape))
    eta, gamma, run = (x.ravel() for x in np.indices(shape))
    matrices = (2, setting.runs, setting.size, setting.size)
    drawn = jr.normal(jr.key(setting.seed), matrices)
    W, Wp = drawn[:, run] / np.sqrt(setting.size)
    W, Wp = setting.W_scale * W, setting.Wp_scale * Wp
    params = Params(
        alpha_p=setting.alpha_p,
        beta=(1 - np.array(setting.gammas)[gamma]) / setting.step,
        eta=np.array(setting.etas)[eta],
    )
    same = jnp.broadcast_to(jnp.eye(setting.size), (lanes, setting.size, setting.size))
    data = Data(X=same, X_aug=setting.sigma**2 * same)
    ts = np.linspace(0.0, setting.time, setting.points)
    start = Full(W=W, Wp=Wp, Wa=jnp.zeros_like(W))
    y = ensemble.states(fields.full, start, (params, data), ts, quick=True).y
    norm = lambda x: np.linalg.norm(x, axis=(-2, -1))
    size = norm(y.W[:, -1]) / norm(y.W[:, 0])
    W, Wa = y.W[:, 1:], y.Wa[:, 1:]
    values = np.sum(W * Wa, axis=(-2, -1)) / (norm(W) * norm(Wa))
    values = np.concatenate([np.ones((lanes, 1)), values], axis=1)  # the limit at t = 0
    return Correlation(ts, values.reshape(*shape, -1), size.reshape(shape))


def draw(setting: Setting, found: Correlation) -> Figure:
    fig, axes = drawing.page(1, 3, tall=1.9, gap=0.22, foot=0.92)
    late = 3 * setting.points // 5
    for ax, eta, values, sizes in zip(
        axes[0], setting.etas, found.values, found.size, strict=True
    ):
        for color, runs, size in zip(drawing.SCALE[::-1], values, sizes, strict=True):
            drawing.band(ax, found.ts, runs, color)
            if size.max() < COLLAPSED:
                at = found.ts[late], runs[:, late].mean() - 0.025
                ax.text(*at, "$W$ collapses", color=color, va="top", fontsize=8)
        ax.set_title(rf"$\eta = {eta:g}$", fontsize=9.5, pad=4)
        ax.set(xlim=(0, setting.time), ylim=(0.75, 1.01))
        ax.set_xlabel("$t$", labelpad=2)
        ax.tick_params(labelleft=ax is axes[0, 0])
    axes[0, 0].set_ylabel(r"$\langle W_a, W\rangle\,/\,\|W_a\|\|W\|$", labelpad=3)
    handles = {
        rf"$\gamma_a = {gamma:g}$  ($\beta = {(1 - gamma) / setting.step:.3g}$)": drawing.line(
            color
        )
        for gamma, color in zip(setting.gammas, drawing.SCALE[::-1], strict=True)
    }
    drawing.legend(fig, handles)
    values = rf"$X = I$,  $X' = \sigma^2 I$,  $\sigma = {setting.sigma:g}$,  $W_a(0) = 0$"
    ours = rf"$n_1 = n_2 = {setting.size}$,  $\alpha_p = {setting.alpha_p:g}$"
    ours += rf",  step ${setting.step:g}$,  $W(0), W_p(0)$ normal: ours"
    drawing.note(fig, f"{values},  {setting.runs} runs   ({ours})")
    return fig


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()
