"""The quantities that a sweep can map, one row each, with the words that go with them.

`flow_maps.COMPUTE` and `step_maps.COMPUTE` hold the functions that compute them.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np


Quantity = Literal[
    "collapse", "basin", "p", "s", "escape-time", "alignment-margin", "alignment", "rank"
]


class Kind(NamedTuple):
    """A quantity, but for its computation. `value` is the array of a map, NaN where unknown."""

    help: str  # for --help
    title: str  # of the picture; {at} stands for the time
    label: str | None = None  # of the colour bar; None for a map of two colours
    part: float = 0.5  # default initial p, in units of p*
    time: float = 1e6  # default --time of a flow
    of_steps: bool = False  # whether there are maps of steps
    share: str | None = None  # the words for the share that is reported, if there is one
    counted: Callable = lambda value: value  # whose mean is that share
    yes: Callable | None = (
        None  # the map as yes or no, which a closed form can be compared with
    )
    form: Literal["fate", "basin", "alignment"] | None = None  # a family in `boundaries.closed`


QUANTITIES = {
    "collapse": Kind(
        help="whether a mode collapses",
        title="Which modes collapse",
        of_steps=True,
        share="share of modes that collapse",
        yes=lambda value: value == 1,
        form="fate",
    ),
    "basin": Kind(
        help="the share of random starts that collapse",
        title="How many of random starts collapse",
        label="share that collapses",
        share="share of starts that collapse",
        yes=lambda value: value == 1,
        form="basin",
    ),
    "p": Kind(
        help="its value at --time",
        title="Eigenvalue of the predictor {at}",
        label="$p$",
        time=1e3,
        of_steps=True,
        form="fate",
    ),
    "s": Kind(
        help="its value at --time",
        title="Eigenvalue of the features' correlation {at}",
        label="$s$",
        time=1e3,
        of_steps=True,
        form="fate",
    ),
    "escape-time": Kind(
        help="time until p is half of p+*",
        title="How long modes take to half of their goal $p_+^*$",
        label="time, in 1 / learning rate of the encoder",
        part=0.1,
        share="share of modes that collapse",
        counted=np.isnan,
        yes=np.isnan,
        form="fate",
    ),
    "alignment-margin": Kind(
        help="the least eigenvalue of K along the solution, positive under (17)",
        title="Whether modes align all the way",
        label="least eigenvalue of $K$ on the way",
        part=0.2,
        time=1e3,
        share="share of modes with K < 0 on the way",
        counted=lambda value: value < 0,
        yes=lambda value: value < 0,
        form="alignment",
    ),
    "alignment": Kind(
        help="log10 of the factor by which a small commutator [F, Wp] of two such modes has"
        " changed at --time, by (9)",
        title="How a small misalignment has changed {at}",
        label=r"$\log_{10}$ of the change of $[F, W_p]$",
        part=0.2,
        time=20.0,
    ),
    "rank": Kind(
        help="how many modes survive in trained linear networks, as `lindyn predict` counts",
        title="Modes that are left {at}",
        label="modes that are left",
        of_steps=True,
        yes=np.isnan,
    ),
}
HELP = " ".join(f"{name}: {kind.help}." for name, kind in QUANTITIES.items())
