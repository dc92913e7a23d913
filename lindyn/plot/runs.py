"""Draws the figure of `compare`: measurements of a run beside the theory's predictions.

Read `style` and `portraits` first.
"""

import textwrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lindyn.plot import BLUE, GREY, INK, ORANGE, PALE, RED, STYLE, draw_portrait, save


__all__ = ["figure", "save"]
MOST = 12  # modes that are drawn at most
ALIGNS = "#e4eff7"  # where K > 0
OVER: Any = dict(frameon=True, framealpha=0.85, edgecolor="none")  # a legend over curves
LAYERS = ("flow", "fixed_points", "parabola", "separatrix", "basin")


def figure(found: Any, title: str, note: str) -> Figure:
    """The six panels of a `compare.analysis.Analysis`.

    A panel to which the theory does not apply shows the reason instead of a plot.
    """
    mpl.rcParams.update(STYLE)
    fig = Figure(figsize=(7.2, 5.0), dpi=200, layout="constrained")
    axes = fig.subplots(2, 3).ravel()
    panels = (
        ("invariance", "invariance", draw_invariance),
        ("balance", "balance (Theorem 1)", draw_balance),
        ("alignment", "alignment (Theorem 3)", draw_alignment),
        ("trajectories", "eigenvalues of $W_p$", lambda ax, x: draw_modes(ax, x, "p")),
        ("trajectories", "eigenvalues of $F$", lambda ax, x: draw_modes(ax, x, "s")),
        ("plane", "the plane at the forecast's start", draw_fate),
    )
    for ax, (name, heading, draw) in zip(axes, panels, strict=True):
        ax.set_title(heading, fontsize=9.5, pad=4)
        if name in found.silent:
            _write_reason(ax, found.silent[name])
        else:
            draw(ax, found)
    fig.suptitle(title, fontsize=10.5)
    fig.supxlabel(note, fontsize=7.5)
    return fig


def draw_invariance(ax, found) -> None:
    """Draw s_j - c_j e^(-2 eta t) over p_j^2, for every mode and record, on `ax`.

    Lines show the fitted slope, and the slope 1/alpha_p of the theory.
    """
    both = found.invariance
    top = 1.05 * max(float(both.features.p2.max()), 1e-12)
    x = np.array([0.0, top])
    for fit, color, name in (
        (both.features, BLUE, "$W X W^T$"),
        (both.weights, ORANGE, "$W W^T$"),
    ):
        y = fit.s - fit.fading
        ax.plot(fit.p2.ravel(), y.ravel(), ".", color=color, markersize=1.8, alpha=0.4)
        label = f"{name}: $a = {fit.a:.3g} \\pm {fit.error:.2g}$"
        ax.plot(x, fit.a * x, color=color, lw=1.2, label=label)
    ax.plot(x, both.expected * x, color=INK, lw=1.0, ls=(0, (3, 2)), label=r"$p^2\!/\alpha_p$")
    shown = [fit.s - fit.fading for fit in (both.features, both.weights)]
    low, high = min(np.quantile(x, 0.01) for x in shown), max(x.max() for x in shown)
    ax.set(xlim=(0, top), ylim=(min(low, 0.0), 1.4 * max(high, both.expected * top)))
    ax.set(xlabel=r"$u_j^T W_p^T W_p u_j$", ylabel=r"$s_j - c_j e^{-2\eta t}$")
    ax.legend(fontsize=7, loc="upper left", handlelength=1.4, labelspacing=0.2)


def draw_balance(ax, found) -> None:
    """Draw |B(t)|/|B(0)| over epochs on `ax`, as measured and as the flow predicts it.

    The residuals of three laws are drawn with it: of the flow, of the law averaged over steps,
    and of the exact law for steps.
    """
    epoch, b = found.run.epoch, found.balance
    one = np.isfinite(b.expected)
    law = r"$e^{-2\eta t}$" if one else "the flow's"
    ax.plot(epoch, b.norm, color=BLUE, lw=1.3, label=r"$\|B(t)\|/\|B(0)\|$")
    ax.plot(epoch, b.predicted, color=INK, lw=1.0, ls=(0, (3, 2)), label=law)
    residuals = [("residual: flow", b.residual, RED), ("averaged", b.averaged, ORANGE)]
    residuals = [
        law for law in (*residuals, ("steps", b.unexplained, GREY)) if law[1] is not None
    ]
    for name, x, color in residuals:
        ax.plot(epoch, np.where(x > 0, x, np.nan), color=color, lw=1.0, label=name)
    ax.set_yscale("log")
    least = min(x[found.first + 1 :].min(initial=1.0) for _, x, _ in residuals)
    low, high = max(least / 2, 1e-16), 2 * b.norm.max()
    low *= (low / high) ** 0.45  # room for the legend
    ax.set(xlabel="epoch", ylim=(low, high))
    how: Any = dict(handlelength=1.4, labelspacing=0.2, columnspacing=0.9, handletextpad=0.5)
    ax.legend(fontsize=7, loc="lower center", ncols=2, **how)


def draw_alignment(ax, found) -> None:
    """Draw the commutator and its bound (10) over epochs on `ax`, shaded where K > 0."""
    epoch, al = found.run.epoch, found.alignment
    shown = np.maximum(al.commutator, 1e-300)
    ax.plot(epoch, shown, color=BLUE, lw=1.3, label=r"$\|[F, W_p]\|$")
    bound = np.where(al.bound < 1e3 * shown.max(), al.bound, np.nan)
    ax.plot(epoch, bound, color=INK, lw=1.0, ls=(0, (3, 2)), label="bound (10)")
    holds = al.least > 0
    low, high = shown[shown > 1e-16].min(initial=shown.max()), shown.max()
    ax.set_yscale("log")
    ax.set(xlabel="epoch", ylim=(low / 3, 6 * high))
    ax.fill_between(epoch, low / 9, 9 * high, where=holds, color=ALIGNS, lw=0, step="mid")
    handles, _ = ax.get_legend_handles_labels()
    handles.append(Patch(facecolor=ALIGNS, edgecolor=PALE, lw=0.5, label="$K > 0$"))
    ax.legend(handles=handles, fontsize=7, handlelength=1.6, labelspacing=0.2)


def draw_modes(ax, found, which) -> None:
    """Draw p or s of the modes, as `which` says, over epochs on `ax`.

    Beside the measured modes are two forecasts from one record: with the parameters that the
    run gives, and with fitted ones.
    """
    epoch = found.run.epoch[found.first :]
    chosen = np.unique(np.linspace(0, found.seen.p.shape[1] - 1, MOST).astype(int))
    pick = lambda x: getattr(x, which)[:, chosen]
    ax.plot(epoch, pick(found.seen), color=GREY, lw=0.9)
    ax.plot(epoch, pick(found.given), color=BLUE, lw=0.9, ls=(0, (3, 1.5)))
    ax.plot(epoch, pick(found.fitted), color=ORANGE, lw=0.9, ls=(0, (1, 1)))
    if which == "s":
        measured = pick(found.seen)
        top = measured.max()
        ax.set_yscale("log")
        low = max(measured[measured > 0].min(initial=top) / 3, 1e-6 * top)
        ax.set_ylim(min(low, top / 30), 4 * top)
    ax.set(xlabel="epoch", ylabel=f"${which}_j$")
    lines = ((GREY, "-", "measured"), (BLUE, (0, (3, 1.5)), "given"))
    lines += ((ORANGE, (0, (1, 1)), "fitted"),)
    handles = [Line2D([], [], color=c, ls=ls, lw=1.1, label=name) for c, ls, name in lines]
    ax.legend(handles=handles, fontsize=7, handlelength=1.8, labelspacing=0.2, **OVER)


def draw_fate(ax, found) -> None:
    """Draw the paths of the modes in the (p, s) plane on `ax`.

    The flow behind them is that of the record at which the forecast starts.
    """
    draw_portrait(ax, found.fate.plane, LAYERS)
    paths = np.stack([found.seen.p, found.seen.s], axis=-1).swapaxes(0, 1)
    ax.add_collection(LineCollection(list(paths), colors=BLUE, linewidths=0.8), autolim=False)
    ax.plot(*paths[:, 0].T, "o", color=PALE, markeredgecolor=INK, markersize=3, mew=0.6)
    ax.plot(*paths[:, -1].T, "o", color=BLUE, markersize=2.6)
    ax.set(xlabel="$p_j$", ylabel="$s_j$")


def _write_reason(ax, text):
    ax.set_axis_off()
    ax.text(
        0.5,
        0.5,
        textwrap.fill(text, 24),
        ha="center",
        va="center",
        color=GREY,
        transform=ax.transAxes,
    )
