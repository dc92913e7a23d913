"""Where the flow describes gradient descent, and where it does not.

Linear networks trained by the trainer's own step. Left: on the population loss, the distance
from the flow (2)-(4) is of first order in the learning rate. Middle: with random views, the
squared distance shrinks as 1 / batch. Right: the slope a of s_j = a p_j^2 + c_j e^(-2 eta t),
which is 1 / alpha_p in the flow. Noise in the predictor's steps changes this slope, and more so
the faster Wp learns.
"""

import contextlib
import dataclasses
import io
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import drawing
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from lindyn import plot, solve, train
from lindyn.compare import invariance, run_moments
from lindyn.record.reading import Run, load_run
from lindyn.theory import fields
from lindyn.theory.hyperparameters import Scales, effective, units
from lindyn.theory.states import Data, Full


BEGIN = 2.5  # time at which the flow starts from the state of the run
DECAY, BETA = 0.01, 0.4


@dataclasses.dataclass(frozen=True)
class Setting:
    rates: tuple[float, ...] = (0.1, 0.05, 0.025, 0.0125)
    batches: tuple[int, ...] = (16, 64, 256, 1024)
    alphas: tuple[float, ...] = (1.0, 4.0)
    seeds: int = 3
    time: float = 30.0


QUICK = Setting((0.1, 0.05), (32, 512), (1.0,), 1, 8.0)


def trained(rate: float, time: float, *flags: Any) -> Run:
    """A run of `lindyn.train` up to this time, in the units of the flow."""
    words = ["--preset", "linear", "--lr", rate, "--ema", 1 - BETA * rate, "--wd", DECAY]
    words += ["--record-every", 25, "--steps-per-call", 25, *flags]
    if "--epochs" not in flags:
        words += ["--epochs", round(time / rate)]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as quiet:
        quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
        quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
        out = pathlib.Path(folder) / "run"
        code = train.main([*map(str, words), "--out", str(out)])
        assert code == 0
        return load_run(out)


def distance(run: Run) -> tuple[float, float]:
    """The distance of a run from the flow that starts at one of its records.

    Returns the largest absolute difference of any weight at any time, and the mean square of
    the final difference in W.
    """
    unit = units(run.config)
    params, kappa = effective(unit, Scales())
    t = kappa * unit.step * run.step
    first = int(np.argmin(np.abs(t - BEGIN)))
    start = {name: jnp.asarray(run.arrays[name][first]) for name in ("W", "Wp", "Wa")}
    data = Data(X=jnp.asarray(run.X), X_aug=jnp.asarray(run.X_aug))
    flow = solve.trajectory(fields.full, Full(**start), (params, data), t[first:] - t[first])
    gaps = [np.asarray(getattr(flow, name)) - run.arrays[name][first:] for name in start]
    return max(np.abs(gap).max() for gap in gaps), float(np.mean(gaps[0][-1] ** 2))


def compute(setting: Setting) -> dict[str, np.ndarray]:
    errors = [distance(trained(rate, setting.time))[0] for rate in setting.rates]
    power = np.empty((len(setting.batches), setting.seeds))
    slopes = np.empty((len(setting.alphas), len(setting.batches)))
    for i, batch in enumerate(setting.batches):
        epochs = max(1, round(setting.time / 0.02 * batch / 1024))
        fresh = ("--views", "fresh", "--batch", batch, "--epochs", epochs)
        for seed in range(setting.seeds):
            run = trained(0.02, setting.time, *fresh, "--seed", seed)
            power[i, seed] = distance(run)[1]
        for j, alpha in enumerate(setting.alphas):
            run = trained(
                0.02, setting.time, *fresh, "--alpha-p", alpha, "--wd-p", DECAY / alpha
            )
            unit = units(run.config)
            slopes[j, i] = invariance.invariance(
                run_moments.measured(run, unit), unit
            ).features.a
    return dict(errors=np.array(errors), power=power, slopes=slopes)


def draw(setting: Setting, found: dict[str, np.ndarray]) -> Figure:
    fig, (row,) = drawing.page(1, 3, tall=1.75, gap=0.55, foot=0.66)
    rates, batches = np.array(setting.rates), np.array(setting.batches)
    of_step, of_noise, of_slope = row
    of_step.loglog(rates, found["errors"], "o", color=plot.BLUE, markersize=4)
    slope = np.polyfit(np.log(rates), np.log(found["errors"]), 1)[0]
    line = found["errors"][-1] * (rates / rates[-1])
    of_step.loglog(rates, line, color=plot.INK, lw=0.9, ls=(0, (3, 2)))
    of_step.set(xlabel="learning rate", title=rf"distance from the flow: order {slope:.2f}")
    mean = found["power"].mean(axis=1)
    of_noise.loglog(batches, found["power"], "o", color=plot.BLUE, markersize=3, alpha=0.6)
    line = np.exp(np.mean(np.log(mean * batches))) / batches
    of_noise.loglog(batches, line, color=plot.INK, lw=0.9, ls=(0, (3, 2)))
    of_noise.set(xlabel="batch", title=r"its square, and $1/\mathrm{batch}$")
    every = zip(drawing.SCALE, setting.alphas, found["slopes"], strict=False)
    for color, alpha, slopes in every:
        of_slope.semilogx(batches, slopes, "o-", color=color, lw=1.2, markersize=4)
        of_slope.axhline(1 / alpha, color=color, lw=0.9, ls=(0, (3, 2)))
        label = rf"$\alpha_p = {alpha:g}$"
        of_slope.annotate(
            label, (batches[0], slopes[0]), (4, 5), textcoords="offset points", color=color
        )
    of_slope.margins(y=0.2)
    of_slope.set(xlabel="batch", title=r"slope $a$, and $1/\alpha_p$ (dashed)")
    for ax in row:
        ax.title.set_fontsize(9)
        ax.minorticks_off()
    for ax, at in ((of_step, rates), (of_noise, batches), (of_slope, batches)):
        ax.set_xticks(at, [f"{x:g}" for x in at])
    drawing.note(
        fig,
        rf"$n_1 = 16$, $n_2 = 8$, $X = I$, $\sigma^2 = 0.3$, $\eta = {DECAY}$,"
        rf" $\beta = {BETA}$, to time {setting.time:g}, learning rate 0.02 on the right: ours",
    )
    return fig


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()
