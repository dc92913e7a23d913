"""Prints the paper's tables with the results of our runs, as text, Markdown or JSON."""

import dataclasses
import statistics
import sys
from datetime import date
from typing import Any

import plans
import published


MEASURES = {"best": "linear_best", "last": "linear_last", "kNN": "knn"}
TIMES = ("environment.json", "evaluation.jsonl")  # written at the begin and end of a run


@dataclasses.dataclass(frozen=True)
class Print(plans.Select):
    """Prints tables: mean ± standard deviation over the n seeds that are finished.

    best and last refer to the 50 epochs of the linear protocol; the paper reports the best.
    """

    markdown: bool = False
    json: bool = False
    """Print one JSON object to stdout."""


def measured(name: str, options: Print) -> dict[str, Any]:
    """A table of the paper with the results of our runs, as a dictionary for JSON."""
    table = published.TABLES[name]
    runs = {arm: _finished(arm, options) for arm in plans.arms([name])}
    rows = {
        label: [_cell(arm, runs, options.data) if arm else None for arm in row]
        for label, row in table.rows.items()
    }
    about = _about([config for found in runs.values() for config, _ in found])
    shapes = [plans.wanted(arm, 0, options) for arm in runs]
    return dict(
        table=name,
        title=table.title,
        columns=table.columns,
        rows=rows,
        data=options.data,
        budget=options.budget,
        epochs=sorted({each.epochs for each in shapes}),
        network=f"ResNet-{shapes[0].depth} of width {shapes[0].width}",
        batch=shapes[0].batch,
        limit=shapes[0].limit,
        **about,
    )


def _finished(arm, options):
    """The finished runs of an arm, with any seed, and their last evaluations."""
    folders = (options.out / options.data / arm).glob("seed*")
    seeds = [path.name.removeprefix("seed") for path in folders if path.is_dir()]
    numbers = sorted(int(seed) for seed in seeds if seed.isdigit())
    configs = [plans.wanted(arm, seed, options) for seed in numbers]
    return [
        (each, plans.result(each)) for each in configs if plans.state(each) == plans.FINISHED
    ]


def _cell(arm, runs, data):
    results = [found for _, found in runs[plans.run_of(arm)]]
    of, mean, sd = published.number(arm, data)
    each = {
        measure: _spread([100 * found[key] for found in results if key in found])
        for measure, key in MEASURES.items()
    }
    return dict(arm=arm, seeds=len(results), **each, paper=dict(data=of, mean=mean, sd=sd))


def _spread(values):
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return dict(mean=statistics.mean(values), sd=sd)


def _about(configs):
    """Data, versions, dates and machines of these runs."""
    found = [each for each in map(plans.environment, configs) if each]
    files = [config.out / name for config in configs for name in TIMES]
    times = [path.stat().st_mtime for path in files if path.exists()]
    days = sorted(date.fromtimestamp(time).isoformat() for time in times)
    devices = [each["devices"] for each in found]
    versions = [f"{each['versions']['lindyn']} ({each['commit'] or '-'})" for each in found]
    return dict(
        checksums=sorted({each["data_checksum"] for each in found}),
        lindyn=sorted(set(versions)),
        dates=sorted({*days[:1], *days[-1:]}),
        machines=sorted({f"{len(each)} x {each[0]}" for each in devices}),
    )


def laid_out(table):
    """Title, notes, headings and rows of a table, as text."""
    rows = []
    for label, cells in table["rows"].items():
        for measure in MEASURES:
            there = any(cell and cell[measure] for cell in cells)
            if there or measure == "best":
                name = label if measure == "best" else ""
                rows.append([name, measure, *(_shown(cell, measure) for cell in cells)])
    listed = lambda name, joint=", ": joint.join(map(str, table[name]))
    paper = next(iter(table["rows"].values()))[0]["paper"]["data"]
    limit = f"at most {table['limit']}" if table["limit"] else "all"
    size = f"{listed('epochs')} epochs of {limit} images"
    copy = f" (copy {listed('checksums')})" * bool(table["checksums"])
    ran = f"lindyn {listed('lindyn')}, {listed('dates', ' to ')}, on {listed('machines')}"
    notes = [
        f"{table['data']}{copy}, budget {table['budget']}: {size}, batch {table['batch']},"
        f" {table['network']}",
        ran if table["dates"] else "no run is finished",
        f"ours | the paper's, {paper}; best, as the paper reports, and last of the linear"
        " protocol's 50 epochs",
    ]
    if table["budget"] != "paper":
        notes.append(
            "a smaller network, fewer images and epochs: not comparable with the paper's"
        )
    return table["title"], notes, ["", "", *table["columns"]], rows


def _shown(cell, measure):
    if cell is None:
        return ""
    count = f" (n={cell['seeds']})" * bool(cell[measure])
    paper = f" | {_plus_minus(cell['paper'])}" * (measure == "best")
    return _plus_minus(cell[measure]) + count + paper


def _plus_minus(found):
    if found is None:
        return "-"
    return f"{found['mean']:.2f}" + (f" ± {found['sd']:.2f}" if found["sd"] is not None else "")


def observed(found):
    rows = [
        [
            f"{each['number']}",
            each["statement"],
            each["sign"],
            f"{each['quantity']}: {' '.join(f'{x:.3g}' for x in each['found'])}",
            f"{each['parameter']} = {' '.join(f'{x:g}' for x in each['values'])}",
            "✓" if each["holds"] else "✗",
        ]
        for each in found
    ]
    notes = ["+ helps, - harms; the numbers are the theory's, ✓ where they move as it is said"]
    title = "Table 4: what the hyperparameters do"
    return title, notes, ["", "observation", "", "seen in", "where", ""], rows


def rich_table(title, notes, heads, rows):
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    console.print(title, table, *notes, sep="\n", end="\n\n")


def markdown(title, notes, heads, rows):
    print(f"### {title}\n")
    for row in (heads, ["---"] * len(heads), *rows):
        print("|", " | ".join(cell.replace("|", "\\|") for cell in row), "|")
    print("\n" + "; ".join(notes) + "\n")
