"""The paper's equations, and what follows from them without solving them."""

from lindyn.theory.closed_forms import (
    CLOSED as CLOSED,
    FixedPoints as FixedPoints,
    aligned_window as aligned_window,
    alignment_margin as alignment_margin,
    basin_edge_without_decay as basin_edge_without_decay,
    critical_decay as critical_decay,
    curriculum_nullclines as curriculum_nullclines,
    decay_roots as decay_roots,
    directset_edge as directset_edge,
    directset_fixed_points as directset_fixed_points,
    fixed_points as fixed_points,
    invariant as invariant,
    isoloss_goal as isoloss_goal,
    pair_fixed_points as pair_fixed_points,
    predictor_nullcline as predictor_nullcline,
    runaway_rate as runaway_rate,
    target_ratio as target_ratio,
    time_on_parabola as time_on_parabola,
)
