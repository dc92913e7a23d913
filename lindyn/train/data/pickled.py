"""Reads pickles of CIFAR-10 without making any of the calls that a pickle may request."""

import io
import pathlib
import pickle
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lindyn.command import UsageError


# Functions that pickled arrays call, in files by Python 2 and 3 and by all NumPy versions.
ARRAYS = ("_reconstruct", "_frombuffer", "ndarray", "dtype")


class Refused(Exception):
    """The pickle requests a call that does not make an array."""


class Call:
    """A call that a pickle requests. It is recorded and never made.

    This includes NumPy's own constructors: a pickle can make `ndarray` take bytes for addresses
    of objects.
    """

    def __init__(self, *args: Any):
        self.args, self.state = args, None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> UInt8[np.ndarray, "..."]:
        """The array of uint8 that the call and its state describe.

        `ValueError` for another dtype, or an array that is not stored row by row.
        """
        if self.state:  # the call is _reconstruct
            _, shape, dtype, by_columns, content = self.state
        else:
            content, dtype, shape, letter = self.args
            by_columns = letter != "C"
        if dtype.args[0] not in ("u1", b"u1") or by_columns:
            raise ValueError("not bytes in rows")
        return np.frombuffer(content, np.uint8).reshape(shape)


class Reader(pickle.Unpickler):
    """An unpickler that makes a `Call` of each array, and decodes bytes of protocol 2.

    Raises `Refused` for all other calls.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if module.split(".")[0] == "numpy" and name in ARRAYS:
            return Call
        raise Refused(f"{module}.{name}")


def read(path: pathlib.Path, content: bytes) -> dict[str, Any]:
    """The dictionary that is pickled in `content`, the bytes of `path`. Arrays are `Call`.

    `UsageError` for a pickle that is damaged or requests other calls.
    """
    try:
        dictionary = Reader(io.BytesIO(content), encoding="bytes").load()
        return {text(key): value for key, value in dictionary.items()}
    except Refused as error:
        raise UsageError(f"{path}: refused, as loading it would call {error}") from None
    except Exception as error:  # a broken pickle may raise any exception
        raise UsageError(f"{path}: truncated, or no pickle of CIFAR-10 ({error})") from None


def text(x: Any) -> str:
    """A pickled key or name as a string: Python 2 pickles it as bytes, in latin1."""
    return x.decode("latin1") if isinstance(x, bytes) else str(x)


def _encode(x, _):
    return x.encode("latin1")  # protocol 2 stores bytes as a string in latin1
