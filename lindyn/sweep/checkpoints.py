"""Parts of a long computation as files: what was done is kept, whatever ends the process."""

import hashlib
import pathlib
import shutil
import zipfile
from collections.abc import Mapping

import numpy as np

from lindyn import command


Arrays = dict[str, np.ndarray]
Span = tuple[int, int]  # items first ... last - 1


class Chunks:
    """The parts of one computation, which `content` describes in full.

    They lie in a folder of their own, so that no other computation finds them.
    """

    def __init__(self, beside: pathlib.Path, content: Mapping, items: int, each: int):
        digest = hashlib.sha256(command.as_json([content, items, each]).encode())
        name = f"{beside.stem}.chunks-{digest.hexdigest()[:12]}"
        bounds = np.linspace(0, items, -(-items // each) + 1).astype(int).tolist()
        self.folder = beside.parent / name
        self.spans: list[Span] = list(zip(bounds, bounds[1:], strict=False))

    def missing(self) -> list[Span]:
        return [span for span in self.spans if self._read(span) is None]

    def keep(self, span: Span, arrays: Arrays) -> None:
        self.folder.mkdir(exist_ok=True)
        command.whole(self._path(span), lambda path: command.save(path, arrays))

    def gather(self) -> Arrays:
        """All parts in order, once none is missing."""
        parts = [self._read(span) for span in self.spans]
        assert all(part is not None for part in parts)
        return {
            name: np.concatenate([part[name] for part in parts if part is not None])
            for name in parts[0] or ()
        }

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, span):
        return self.folder / "{:012d}-{:012d}.npz".format(*span)

    def _read(self, span) -> Arrays | None:
        try:
            with self._path(span).open("rb") as file:
                return dict(np.load(file))
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):  # absent, or torn
            return None
