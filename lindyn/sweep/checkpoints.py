"""Checkpoint files of a long computation, from which it resumes after the process ends."""

import hashlib
import pathlib
import shutil
import zipfile
from collections.abc import Mapping

import numpy as np

from lindyn import command


Arrays = dict[str, np.ndarray]
Span = tuple[int, int]  # (first, last): the items first ... last - 1


class Chunks:
    """The checkpoints of one computation: one file for each span of at most `each` items.

    The files are in a folder next to `beside`. The folder's name contains a hash of `content`,
    which describes the computation completely, so that no other computation reads the files.
    """

    def __init__(self, beside: pathlib.Path, content: Mapping, items: int, each: int):
        digest = hashlib.sha256(command.as_json([content, items, each]).encode())
        name = f"{beside.stem}.chunks-{digest.hexdigest()[:12]}"
        bounds = np.linspace(0, items, -(-items // each) + 1).astype(int).tolist()
        self.folder = beside.parent / name
        self.spans: list[Span] = list(zip(bounds, bounds[1:], strict=False))

    def missing(self) -> list[Span]:
        """The spans that have no file, or a file that cannot be read."""
        return [span for span in self.spans if self._read(span) is None]

    def keep(self, span: Span, arrays: Arrays) -> None:
        """Writes the results of a span; the file is never seen in part."""
        self.folder.mkdir(exist_ok=True)
        command.whole(self._path(span), lambda path: command.save(path, arrays))

    def gather(self) -> Arrays:
        """The results of all spans, concatenated in order. AssertionError if one is missing."""
        parts = [self._read(span) for span in self.spans]
        assert all(part is not None for part in parts)
        return {
            name: np.concatenate([part[name] for part in parts if part is not None])
            for name in parts[0] or ()
        }

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, span):
        return self.folder / "{:012d}-{:012d}.npz".format(*span)

    def _read(self, span) -> Arrays | None:
        try:
            with self._path(span).open("rb") as file:
                return dict(np.load(file))
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):  # absent or incomplete
            return None
