"""The command `python -m lindyn.verify`, which checks the theory's claims."""

import dataclasses
import math
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import jax.random as jr
import tyro

from lindyn import command
from lindyn.command import UsageError, number


@dataclasses.dataclass(frozen=True)
class Config:
    seeds: int = 3  # number of random problems for each claim; the largest residual counts
    size: int = 5  # n2 of the problems; n1 = n2 + 1
    seed: int = 0  # seed of the first problem; each further problem adds 1
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLAIM")] = ()
    """Names of the claims to check. Default: all."""
    out: pathlib.Path = pathlib.Path("lindyn-out")  # a folder, or a file with suffix .json
    json: bool = False  # print one JSON object instead of the table


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of checking one claim, as it is written to JSON."""

    claim: str
    statement: str
    source: str
    residual: float  # the largest of all seeds; NaN if it could not be computed
    tolerance: float
    holds: bool
    trouble: str  # the error if the residual could not be computed, else empty
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("verify", Config, verify, argv)


def verify(config: Config) -> int:
    """Checks the claims, writes the verdicts as JSON, and prints a table or the JSON.

    Returns the exit code, which is 1 if a claim fails. Raises `UsageError` for a flag that is
    out of range, an unknown claim, or a folder that cannot be written to.
    """
    number("--seeds", config.seeds, 1, 1000)
    number("--size", config.size, 2, 64, why="H of Theorem 2 has n1^2 n2^2 entries")
    number("--seed", config.seed, 0, 2**31)
    chosen = _chosen(config.only)
    path = command.targets(config.out, "verify", (), ("json",))["json"]
    command.start()
    verdicts: list[Verdict] = []
    try:
        for claim in command.progress(chosen, "claims", label=lambda claim: claim.name):
            verdicts.append(check(claim, config.seeds, config.size, config.seed))
    finally:  # an interrupted command writes the verdicts that it has
        report = {
            **command.provenance("verify", config),
            "holds": len(verdicts) == len(chosen) and all(x.holds for x in verdicts),
            "claims": [dataclasses.asdict(verdict) for verdict in verdicts],
        }
        path.write_text(command.as_json(report) + "\n")
    if config.json:
        print(command.as_json({**report, "files": [path]}))
    else:
        _table(verdicts)
        print(path)
    return command.DONE if report["holds"] else command.FAILED


def check(claim, seeds: int = 3, size: int = 5, seed: int = 0) -> Verdict:
    """The verdict on a `Claim`, from its largest residual on random problems.

    The problems have n2 = `size` and the seeds `seed`, `seed` + 1, ...; there are `seeds` of
    them. If the residual raises ArithmeticError or ValueError, or is NaN, the claim fails.
    """
    from lindyn.verify import random_problems

    begin, worst, trouble = time.perf_counter(), 0.0, ""
    for problem_seed in range(seed, seed + seeds):
        try:
            residual = float(claim.residual(random_problems.draw(jr.key(problem_seed), size)))
        except (ArithmeticError, ValueError) as error:
            residual, trouble = math.nan, f"seed {problem_seed}: {error}"
        worst = residual if math.isnan(residual) else max(worst, residual)
        if math.isnan(worst):
            break
    return Verdict(
        claim=claim.name,
        statement=claim.statement,
        source=claim.source,
        residual=worst,
        tolerance=claim.tolerance,
        holds=worst <= claim.tolerance,
        trouble=trouble,
        seconds=time.perf_counter() - begin,
    )


def _chosen(only):
    from lindyn.verify.claims import CLAIMS  # imports diffrax; --help stays fast without it

    named = {claim.name: claim for claim in CLAIMS}
    unknown = [name for name in only if name not in named]
    if unknown:
        raise UsageError(f"--only {unknown[0]}: the claims are {', '.join(named)}")
    return [named[name] for name in only] or CLAIMS


def _table(verdicts):
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("claim")
    for heading in ("residual", "tolerance", "verdict"):
        table.add_column(heading, no_wrap=True, justify="right")
    for verdict in verdicts:
        about = f"[dim]{verdict.claim}: {verdict.source}[/]"
        table.add_row(
            "\n".join(filter(None, (verdict.statement, about, verdict.trouble))),
            f"{verdict.residual:.1e}",
            f"{verdict.tolerance:.1e}",
            "[green]holds[/]" if verdict.holds else "[bold red]FAILS[/]",
        )
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(table)
    failed = sum(not verdict.holds for verdict in verdicts)
    console.print(f"{len(verdicts) - failed} of {len(verdicts)} claims hold")
