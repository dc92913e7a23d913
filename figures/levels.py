"""The same two plots for three models: the mode equations, a linear network, and a ResNet.

Left: decoupled modes (11)-(13), integrated. Middle: a linear network trained with random views
and minibatches, by the trainer's own step. Right: our SGD run of BYOL on CIFAR-10. Top row:
eigenvalues of Wp over time. Bottom row: the modes in the plane (p, s). All modes start small,
and modes that are ahead stay ahead. The ResNet's encoder changes quantities that the theory
holds fixed.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import drawing
import jax.numpy as jnp
import numpy as np
import records
from matplotlib.figure import Figure
from sgd import trained

from lindyn import plot, solve
from lindyn.compare import forecast, run_moments
from lindyn.theory import fields
from lindyn.theory.hyperparameters import units
from lindyn.theory.states import Modes, Params


@dataclasses.dataclass(frozen=True)
class Setting:
    alpha_p: float = 1.0
    beta: float = 0.4
    eta: float = 0.01
    sigma2: float = 0.3
    starts: tuple[float, ...] = (0.35, 0.28, 0.22, 0.16, 0.1, 0.05, -0.2)
    s0: float = 0.15
    time: float = 40.0
    batch: int = 64
    record: str = "sgd-linear"
    modes: int = 8


QUICK = Setting(time=10.0)


class Level(NamedTuple):
    name: str
    at: str  # label of the time axis
    t: np.ndarray
    p: np.ndarray  # (times, modes)
    s: np.ndarray


def compute(setting: Setting) -> list[Level]:
    return [solved(setting), by_sgd(setting), of_resnet(setting)]


def solved(setting) -> Level:
    params = Params(
        alpha_p=setting.alpha_p, beta=setting.beta, eta=setting.eta, sigma2=setting.sigma2
    )
    ts = jnp.linspace(0.0, setting.time, 201)
    start = Modes.of(p=jnp.array(setting.starts), s=setting.s0, tau=0.0)
    ys = solve.trajectory(fields.modes, start, params, ts)
    return Level("equations (11)-(13)", "time", *map(np.asarray, (ts, ys.p, ys.s)))


def by_sgd(setting) -> Level:
    """The linear network. Its modes are in the basis of the record at 1/20 of the run."""
    epochs = max(1, round(setting.time / 0.02 * setting.batch / 1024))
    fresh = ("--views", "fresh", "--batch", setting.batch, "--epochs", epochs)
    run = trained(0.02, setting.time, *fresh, "--symmetric")
    unit = units(run.config)
    m = run_moments.measured(run, unit)
    seen = forecast.observed(m, len(m.t) // 20)
    return Level("linear network, SGD", "time", m.t[-len(seen.t) :], seen.p, seen.s)


def of_resnet(setting) -> Level:
    run = records.arrays(setting.record)
    some = np.unique(np.linspace(0, run["seen_p"].shape[1] - 1, setting.modes).astype(int))
    epoch = run["epoch"][-len(run["seen_t"]) :]
    return Level("ResNet, BYOL", "epoch", epoch, run["seen_p"][:, some], run["seen_s"][:, some])


def draw(setting: Setting, levels: list[Level]) -> Figure:
    fig, axes = drawing.page(2, 3, tall=1.6, gap=0.42, between=0.28, foot=0.72)
    for (of_time, of_plane), level in zip(axes.T, levels, strict=True):
        for place, (p, s) in enumerate(zip(level.p.T, level.s.T, strict=True)):
            color = plot.FADED(1 - 0.7 * place / level.p.shape[1])
            of_time.plot(level.t, p, color=color, lw=1.1)
            of_plane.plot(p, s, color=color, lw=1.0)
            of_plane.plot(p[:1], s[:1], "o", color="w", markeredgecolor=color, markersize=3.5)
            of_plane.plot(p[-1:], s[-1:], "o", color=color, markersize=3.5)
        of_time.set_title(level.name, fontsize=9.5, pad=4)
        of_time.set_xlabel(level.at, labelpad=1)
        of_plane.set_xlabel("$p_j$", labelpad=1)
    axes[0, 0].set_ylabel("$p_j$")
    axes[1, 0].set_ylabel("$s_j$")
    drawing.note(
        fig,
        rf"left and middle: $\alpha_p = {setting.alpha_p:g}$, $\beta = {setting.beta:g}$,"
        rf" $\eta = {setting.eta:g}$, $\sigma^2 = {setting.sigma2:g}$, starts and batch"
        f" {setting.batch}: ours;  right, {records.SIZE}",
    )
    return fig


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()
