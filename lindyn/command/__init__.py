"""What all commands share: parsing of flags, exit codes, output files and a progress bar.

Read `program` first: every command begins and ends in `program.run`.

May import: nothing else of lindyn.
"""

from lindyn.command.files import (
    as_json as as_json,
    provenance as provenance,
    redraw as redraw,
    save as save,
    targets as targets,
    whole as whole,
)
from lindyn.command.program import (
    DONE as DONE,
    FAILED as FAILED,
    INTERRUPTED as INTERRUPTED,
    USAGE as USAGE,
    leave as leave,
    run as run,
    start as start,
)
from lindyn.command.progress_bar import progress as progress
from lindyn.command.usage import (
    UsageError as UsageError,
    interval as interval,
    number as number,
)
