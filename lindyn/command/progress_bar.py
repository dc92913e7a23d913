"""A progress bar for long computations."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar


T = TypeVar("T")


def progress(
    items: Sequence[T], noun: str, label: Callable[[T], str] = lambda _: ""
) -> Iterator[T]:
    """Yield the items, and show the progress on stderr if there are at least two of them.

    A terminal shows a bar. Elsewhere a line is printed at most every ten seconds. `noun`
    names the items, and `label` describes the item that is yielded next.
    """
    if len(items) < 2:
        yield from items
        return
    from rich.console import Console
    from rich.progress import (
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    begin = printed = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(noun, total=len(items))
        for done, item in enumerate(items):
            bar.update(task, completed=done, description=f"{noun} {label(item)}")
            now = time.monotonic()
            if not console.is_terminal and now - printed > 10:
                printed, left = now, (now - begin) / done * (len(items) - done)
                message = f"{done} of {len(items)} {noun}, about {left:.0f} s left"
                console.print(f"{message}, {label(item)}".removesuffix(", "), soft_wrap=True)
            yield item
