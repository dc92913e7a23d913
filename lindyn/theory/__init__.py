"""The equations of the paper, and results that follow from them without integration.

The paper is Tian, Chen and Ganguli, ICML 2021 (arXiv 2102.06810). Read `states` first, which
defines the variables, and then `fields`, which defines the equations of motion.

May import: nothing else of lindyn.
"""

from lindyn.theory.closed_forms import (
    aligned_window as aligned_window,
    alignment_margin as alignment_margin,
    basin_edge_without_decay as basin_edge_without_decay,
    critical_decay as critical_decay,
    curriculum_nullclines as curriculum_nullclines,
    directset_edge as directset_edge,
    invariant as invariant,
    isoloss_goal as isoloss_goal,
    predictor_nullcline as predictor_nullcline,
    runaway_rate as runaway_rate,
    target_ratio as target_ratio,
    time_on_parabola as time_on_parabola,
)
from lindyn.theory.equilibria import (
    CLOSED as CLOSED,
    FixedPoints as FixedPoints,
    decay_roots as decay_roots,
    directset_fixed_points as directset_fixed_points,
    fixed_points as fixed_points,
    pair_fixed_points as pair_fixed_points,
)
