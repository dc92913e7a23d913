"""Which settings collapse? Maps over two parameters."""

from lindyn.sweep.command import (
    PRESETS as PRESETS,
    Config as Config,
    main as main,
    sweep as sweep,
)
