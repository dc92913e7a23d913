"""The text and numbers of a portrait: for JSON, for the table, and for the figure.

Read `portrait` first. In this file a panel is a `Portrait` or a `Line`.
"""

import sys

import numpy as np

from lindyn.theory import closed_forms


VARIABLES = {"p-s": ("p", "s"), "p-tau": ("p", "tau"), "p": ("p",), "cosine": ("p", "s")}


def numbers(panel):
    """The numbers of a panel that JSON holds and the table shows."""
    points = [
        {
            "name": name,
            **dict(zip(VARIABLES[panel.plane], map(float, position), strict=False)),
            "eigenvalues": [complex(value) for value in values],
            "class": kind,
        }
        for name, position, values, kind in zip(
            ("collapsed", "edge", "goal"),
            panel.points,
            panel.fixed.eigenvalues,
            panel.fixed.names,
            strict=True,
        )
        if kind != "none"
    ]
    if panel.plane == "cosine":
        return {
            "modes": panel.modes,
            "collapsing_share": panel.share,
            "fixed_points": points,
            "failed_flow_lines": panel.failed,
        }
    return {
        "eta_p": panel.params.eta_p,
        "eta_s": panel.params.eta_s,
        "critical_decay": closed_forms.critical_decay(panel.params),
        "basin_edge_on_parabola": panel.edge,
        "collapsing_share": panel.share,
        "fixed_points": points,
        "failed_flow_lines": panel.failed,
    }


def curves(panel):
    """The curves of a panel that are drawn, in six significant digits."""
    names = ("p", "rate", "flow", "nullclines", "resting", "parabola", "constants")
    names += ("separatrix", "basin")
    names += ("rivals",) if panel.modes is not None else ()
    return {name: _short(getattr(panel, name)) for name in names if hasattr(panel, name)}


def _short(x):
    if isinstance(x, dict):
        return {key: _short(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_short(value) for value in x]
    if isinstance(x, np.ndarray):
        return [_short(value) for value in x.tolist()]
    return float(f"{x:.6g}") if isinstance(x, float) else x


def title(params, modes=None):
    """The title of a panel: its weight decay, or the number of modes that compete."""
    if modes is not None:
        return f"{modes} modes"
    if params.eta_p == params.eta_s:
        return rf"$\eta = {params.eta_p:.4g}$"
    return rf"$\eta_p = {params.eta_p:.4g},\ \eta_s = {params.eta_s:.4g}$"


def note(config):
    """The line below the figure: the parameters that all panels share."""
    shown = {
        "p-s": ("alpha_p", "sigma2", "tau"),
        "p": ("sigma2", "tau"),
        "cosine": ("alpha_p",),
    }
    symbols = {
        "alpha_p": r"\alpha_p",
        "sigma2": r"\sigma^2",
        "tau": r"\tau",
        "beta": r"\beta",
    }
    values = ",  ".join(
        f"${symbols[name]} = {getattr(config, name):.4g}$"
        for name in shown.get(config.plane, ("beta", "sigma2"))
    )
    if config.plane == "cosine":
        return (
            values + r",  $\Sigma_j\, p_j^2 = \alpha_p \Sigma_j\, s_j = n$,  any weight decay"
        )
    ours = config.preset in ("fig3", "fig4")
    return values + (r"   ($\sigma^2$ and ranges: ours, not the paper's)" if ours else "")


def print_table(drawn, summaries):
    """Print the fixed points of all panels as a table, and one line for each panel below it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    variables = VARIABLES[drawn[0].plane]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    of_modes = "modes" in summaries[0]
    for heading in (
        "modes" if of_modes else "eta",
        "fixed point",
        *variables,
        "eigenvalues",
        "class",
    ):
        table.add_column(heading, no_wrap=True)
    for summary in summaries:
        eta = str(summary["modes"]) if of_modes else _decays(summary)
        for point in summary["fixed_points"]:
            position = [f"{point[name]:.6g}" for name in variables]
            values = ", ".join(map(_number, point["eigenvalues"]))
            table.add_row(eta, point["name"], *position, values, point["class"])
            eta = ""
        table.add_section()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(table)
    for summary in summaries:
        share = f"{summary['collapsing_share']:.2%} of the plane collapses"
        if of_modes:
            line = f"{summary['modes']} modes: those that live end at one p, here 1; {share}"
        else:
            line = f"eta {_decays(summary)}: critical decay {summary['critical_decay']:.6g}, "
            edge = summary["basin_edge_on_parabola"]
            line += f"basin edge on the parabola {edge:.6g}, {share}"
        console.print(line, soft_wrap=True)
        if summary["failed_flow_lines"]:
            console.print(f"  {summary['failed_flow_lines']} flow lines end early")


def _decays(summary):
    decays = dict.fromkeys((summary["eta_p"], summary["eta_s"]))
    return " / ".join(f"{decay:.6g}" for decay in decays)


def _number(value):
    real = f"{value.real + 0.0:.5g}"
    return f"{real} {value.imag:+.5g}i" if value.imag else real
