"""Computes and draws maps over two parameters: which settings collapse, escape or align.

Read `specification` first, then `flow_maps` and `step_maps`, then `boundaries`.

May import: command, plot, predict, solve, theory.
"""

from lindyn.sweep.command import (
    PRESETS as PRESETS,
    Config as Config,
    main as main,
    sweep as sweep,
)
