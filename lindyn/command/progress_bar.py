"""A bar for what takes long."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar


T = TypeVar("T")


def progress(
    items: Sequence[T], noun: str, label: Callable[[T], str] = lambda _: ""
) -> Iterator[T]:
    """`items`, with a bar on stderr if they are several, or lines if it is no terminal."""
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
    begin = told = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(noun, total=len(items))
        for done, item in enumerate(items):
            bar.update(task, completed=done, description=f"{noun} {label(item)}")
            now = time.monotonic()
            if not console.is_terminal and now - told > 10:
                told, left = now, (now - begin) / done * (len(items) - done)
                told_of = f"{done} of {len(items)} {noun}, about {left:.0f} s left"
                console.print(f"{told_of}, {label(item)}".removesuffix(", "), soft_wrap=True)
            yield item
