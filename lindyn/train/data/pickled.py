"""What a pickle of CIFAR-10 holds, read without carrying out anything that it asks for."""

import io
import pathlib
import pickle
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lindyn.command import UsageError


# What arrays and bytes are pickled as calls of, by Python 2 and 3 and by every NumPy.
ARRAYS = ("_reconstruct", "_frombuffer", "ndarray", "dtype")


class Refused(Exception):
    """The pickle asks for something else than an array to be made."""


class Call:
    """A call that a pickle asks for, noted down and not made.

    NumPy's own constructors are no exception: from a pickle, `ndarray` can be made to take
    bytes for addresses of objects.
    """

    def __init__(self, *args: Any):
        self.args, self.state = args, None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> UInt8[np.ndarray, "..."]:
        """The array of bytes that the call and its state describe."""
        if self.state:  # of _reconstruct
            _, shape, dtype, by_columns, content = self.state
        else:
            content, dtype, shape, letter = self.args
            by_columns = letter != "C"
        if dtype.args[0] not in ("u1", b"u1") or by_columns:
            raise ValueError("not bytes in rows")
        return np.frombuffer(content, np.uint8).reshape(shape)


class Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if module.split(".")[0] == "numpy" and name in ARRAYS:
            return Call
        raise Refused(f"{module}.{name}")


def read(path: pathlib.Path, content: bytes) -> dict[str, Any]:
    """The dictionary pickled in `content`, the bytes of `path`; arrays are left as `Call`."""
    try:
        found = Reader(io.BytesIO(content), encoding="bytes").load()
        return {text(key): value for key, value in found.items()}
    except Refused as error:
        raise UsageError(f"{path}: refused, as loading it would call {error}") from None
    except Exception as error:  # anything may come of a broken pickle
        raise UsageError(f"{path}: truncated, or no pickle of CIFAR-10 ({error})") from None


def text(x: Any) -> str:
    return x.decode("latin1") if isinstance(x, bytes) else str(x)


def _encode(x, _):
    return x.encode("latin1")  # how protocol 2 keeps bytes
