"""Fig. 10: data whose covariances commute but are not isotropic, (104)-(106), in three planes.

The paper's claim: with a predictor the flow ends at wa = w, wp = l_d / l_s, which is not a
collapse; without a predictor every state collapses. Look at the fixed points (the thick line
and the blue point), and at the shaded initial conditions, which collapse.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import drawing
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lindyn import plot
from lindyn.phase import flow_lines
from lindyn.phase.flow_lines import Window
from lindyn.theory import fields, stability
from lindyn.theory.states import Correlations, Modes, Params


@dataclasses.dataclass(frozen=True)
class Setting:
    same: float = 1.0  # l_s
    across: float = 0.5  # l_d
    alpha_p: float = 1.0
    beta: float = 1.0
    reach: float = 1.25  # ours
    grid: int = 17  # unit arrows per side; grid^2 points start a flow line


QUICK = Setting(grid=9)


class Point(NamedTuple):
    x: jax.Array
    y: jax.Array


class Cut(NamedTuple):
    arrows: np.ndarray  # (nodes, 4): a point, and the direction there as a unit vector
    flow: list[np.ndarray]
    rests: list[tuple[float, float, str]]  # isolated fixed points (x, y, class)


def rates(setting: Setting, p, w, wa) -> Modes:
    """The rates of `fields.mode_pair`, without weight decay."""
    data = Correlations(same=setting.same, across=setting.across)
    params = Params(alpha_p=setting.alpha_p, beta=setting.beta)
    return fields.mode_pair(0.0, Modes(p=p, w=w, wa=wa), (params, data))


def slow_target(setting: Setting, t, at: Point, args=None) -> Point:
    """The flow of (w, wp) with the target held at wa = 1."""
    rate = rates(setting, p=at.y, w=at.x, wa=jnp.ones_like(at.x))
    return Point(rate.w, rate.p)


def balanced(setting: Setting, t, at: Point, args=None) -> Point:
    """The flow of (w, wa) on w = wp, a condition that the flow preserves for alpha_p = 1."""
    rate = rates(setting, p=at.x, w=at.x, wa=at.y)
    return Point(rate.w, rate.wa)


def no_predictor(setting: Setting, t, at: Point, args=None) -> Point:
    """The flow of (w, wa) with wp = 1."""
    rate = rates(setting, p=jnp.ones_like(at.x), w=at.x, wa=at.y)
    return Point(rate.w, rate.wa)


def compute(setting: Setting) -> list[Cut]:
    goal = setting.across / setting.same
    return [
        _cut(setting, slow_target, [(0.0, 0.0)]),
        _cut(setting, balanced, [(0.0, 0.0), (goal, goal)]),
        _cut(setting, no_predictor, [(0.0, 0.0)]),
    ]


def window(setting: Setting) -> Window:
    return Window((-setting.reach, setting.reach), (-setting.reach, setting.reach))


def _cut(setting, field: Callable, rests):
    here, count = window(setting), setting.grid**2
    rate = lambda points: np.stack(field(setting, 0.0, Point(*points.T)), axis=1)
    nodes, starts = map(
        here.place, (flow_lines.lattice(setting.grid), flow_lines.scattered(count))
    )
    speed = np.linalg.norm(rate(nodes), axis=1, keepdims=True)
    arrows = np.concatenate([nodes, rate(nodes) / np.where(speed > 0, speed, 1)], axis=1)
    curves, _ = flow_lines.follow(
        Partial(field, setting),
        Point(*np.concatenate([starts, starts]).T),
        np.zeros(2 * count),
        chart=_same,
        signs=np.repeat([1.0, -1.0], count),
        spans=np.tile(here.spans, (2 * count, 1)),
        rest=np.full(2 * count, 1e-4 * speed.max()),
        rtol=1e-6,
    )
    both = np.concatenate([curves[count:, :0:-1], curves[:count]], axis=1)
    kinds = [_kind(setting, field, at) for at in rests]
    points = [(x, y, kind) for (x, y), kind in zip(rests, kinds, strict=True)]
    return Cut(arrows, flow_lines.spread(both, here), points)


def _same(at):
    return at


def _kind(setting, field, at):
    flat = lambda at: jnp.stack(field(setting, 0.0, Point(*at)))
    kind = int(stability.classify(jax.jacfwd(flat)(jnp.array(at))))
    kind = stability.DEGENERATE if kind == stability.LINE else kind  # not on a line
    return stability.KINDS[kind]


TITLES = (r"target held at $w_a = 1$", r"$w = w_p$, target by EMA", r"no predictor, $w_p = 1$")
AXES = (("$w$", "$w_p$"), ("$w = w_p$", "$w_a$"), ("$w$", "$w_a$"))


def draw(setting: Setting, cuts: list[Cut]) -> Figure:
    fig, axes = drawing.page(1, 3, tall=2.05, gap=0.5, foot=1.0)
    shaded = ((0.0, 0.0), (-setting.reach, 0.0), (-setting.reach, setting.reach))
    handles = {}
    for ax, cut, title, names, edges in zip(axes[0], cuts, TITLES, AXES, shaded, strict=True):
        if edges[0] < edges[1]:
            ax.axvspan(*edges, color=plot.COLLAPSED, lw=0)
        _draw_flow(ax, cut)
        handles |= _draw_rests(ax, cut)
        ax.set_title(title, fontsize=9.5, pad=4)
        ax.set_xlabel(names[0], labelpad=2)
        ax.set_ylabel(names[1], labelpad=0)
        ticks = np.arange(-1, 1.5, 0.5)
        ax.set(**{**_limits(setting), "xticks": ticks, "yticks": ticks})
    handles = {
        "collapses": Patch(color=plot.COLLAPSED, lw=0),
        "unit arrows": drawing.line(plot.GREY, lw=0.8, marker=">", markersize=3, markevery=[0]),
        **_draw_curves(setting, axes[0]),
        **handles,
    }
    drawing.legend(fig, handles, columns=5)
    values = rf"$\ell_s = {setting.same:g}$,  $\ell_d = {setting.across:g}$"
    values += rf",  $\alpha_p = {setting.alpha_p:g}$,  $\beta = {setting.beta:g}$"
    drawing.note(fig, values + ",  no weight decay   (ranges: ours)")
    return fig


def _limits(setting):
    here = window(setting)
    return {"xlim": here.x, "ylim": here.y}


def _draw_flow(ax, cut):
    ax.add_collection(LineCollection(cut.flow, colors=plot.PALE, linewidths=0.7))
    x, y, u, v = cut.arrows.T
    how = dict(angles="xy", scale_units="xy", pivot="mid", color=plot.GREY, units="inches")
    length = 0.7 * 2 * x.max() / np.sqrt(len(x))
    ax.quiver(x, y, length * u, length * v, scale=1, width=0.009, **how)


def _draw_rests(ax, cut):
    handles = {}
    for x, y, kind in cut.rests:
        style = {"ls": "", "markeredgecolor": "w", "markeredgewidth": 0.7} | plot.MARKS[kind]
        ax.plot([x], [y], **style, zorder=5)
        handles[kind] = drawing.line(**style)
    return handles


def _draw_curves(setting, axes):
    """Draws nullclines, lines of fixed points and the separatrix. The fixed points of the first
    plane form a hyperbola."""
    goal, reach = setting.across / setting.same, setting.reach
    first, second, third = axes
    w = np.linspace(goal / reach / 2, reach, 200)
    for sign in (1, -1):
        first.plot(sign * w, sign * goal / w, color=plot.BLUE, lw=3)
    first.plot([-reach, reach], [reach, -reach], color=plot.RED, lw=1.7)
    w = np.linspace(-reach, reach, 201)
    dashed: Any = dict(color=plot.BLUE, lw=1.1, ls=(0, (6, 2)))
    dotted: Any = dict(color=plot.GREEN, lw=1.1, ls=(0, (5, 1.5, 1, 1.5)))
    second.plot(w, w**2 / goal, **dashed)
    second.axvline(0, **dashed)
    third.plot(w, w / goal, **dashed)
    for ax in (second, third):
        ax.plot(w, w, **dotted)
    return {
        "stable line of fixed points": drawing.line(plot.BLUE, lw=3),
        "separatrix": drawing.line(plot.RED, lw=1.7),
        r"$\dot w = 0$": drawing.line(**dashed),
        r"$\dot w_a = 0$": drawing.line(**dotted),
    }


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()
