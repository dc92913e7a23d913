"""The paper's equations, and what follows from them without solving them."""

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
