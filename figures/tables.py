"""Plans, runs and prints the paper's Tables 1 to 8.

    python figures/tables.py plan  --tables t3 t5 --data cifar10 --data-dir DIR
    python figures/tables.py run   --tables t3 t5 --data cifar10 --data-dir DIR
    python figures/tables.py print --tables t3 t5 --data cifar10

Each run is a separate `python -m lindyn.train`, in the folder OUT/DATA/ARM/seedN with a log
beside it. If the same `run` command is given again, it resumes unfinished runs and skips
finished ones. Table 4 has no runs: it is computed from the theory.

--budget small is for two CPU cores: a ResNet-10 on 10 000 images, and 8 epochs for each 100 of
the paper. Its numbers are not comparable with the paper's, which are printed beside them.
"""

import sys
from collections.abc import Sequence

import observations
import plans
import printed
import runner
from plans import Plan
from printed import Print
from runner import Run, say

from lindyn import command
from lindyn.command import UsageError, number


def main(argv: Sequence[str] | None = None) -> int:
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if name in ("-h", "--help"):
        print(__doc__)
        return command.DONE
    if name == "plan":
        return command.run("tables plan", Plan, plan, rest)
    if name == "run":
        return command.run("tables run", Run, run, rest)
    if name == "print":
        return command.run("tables print", Print, show, rest)
    print(f"lindyn tables {name}: must be one of plan, run, print", file=sys.stderr)
    return command.USAGE


def plan(options: Plan) -> int:
    jobs = plans.planned(options)
    states = [plans.state(job.config) for job in jobs]
    width = max((len(job.name) for job in jobs), default=0)
    for job, each in zip(jobs, states, strict=True):
        so_far = f", at step {plans.trained(job.config)[0]}" if each == plans.PARTLY else ""
        print(f"{job.name:{width}}  {job.steps:6d} steps  {each}{so_far}")
    counts = ", ".join(
        f"{states.count(each)} {each}" for each in (plans.FINISHED, plans.PARTLY, plans.TO_DO)
    )
    print(f"{len(jobs)} runs: {counts}; {plans.time_left(jobs, jobs, options)}")
    return command.DONE


def run(options: Run) -> int:
    number("--hours", options.hours, 0.1, 1e4)
    at_once = 1 if options.at_once is None else options.at_once
    number("--at-once", at_once, 1, 1024)
    slots = runner.slots(at_once)
    jobs = plans.planned(options)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out {options.out}: cannot write there ({error.strerror})"
        ) from None
    left = [job for job in jobs if plans.state(job.config) != plans.FINISHED]
    say(f"{len(jobs)} runs, {len(left)} not finished; {plans.time_left(jobs, jobs, options)}")
    if options.slurm is not None and left:
        for job, submitted in zip(left, runner.submit(left, options), strict=True):
            print(f"{submitted.job_id}  {job.name}")
        return command.DONE
    failed, stopped = runner.train(
        left, slots, lambda these: plans.time_left(jobs, these, options)
    )
    for line in failed:
        say(line)
    if stopped:
        return command.INTERRUPTED
    return command.FAILED if failed else command.DONE


def show(options: Print) -> int:
    if options.json and options.markdown:
        raise UsageError("--json and --markdown: give one")
    tables = [printed.measured(x, options) for x in plans.named(options) if x != "t4"]
    observed = observations.found() if "t4" in options.tables else []
    if options.json:
        print(command.as_json(dict(tables=tables, observations=observed)))
    else:
        laid_out = {table["table"]: printed.laid_out(table) for table in tables}
        laid_out["t4"] = printed.observed(observed)
        for name in options.tables:
            (printed.markdown if options.markdown else printed.rich_table)(*laid_out[name])
    return command.DONE if all(each["holds"] for each in observed) else command.FAILED


if __name__ == "__main__":
    command.leave(main())
