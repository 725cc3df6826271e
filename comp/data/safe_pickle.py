"""Pickles without the danger: numpy arrays and plain containers are read, anything else is refused by name.

A pickle is a program; the usual ``pickle.load`` runs whatever it names.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from comp.errors import InputError, RawDataError

_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")


def load(source: IO[bytes], name: str) -> Any:
    """Reads a pickle of numpy arrays, numbers, text, bytes, lists, tuples, sets and dicts.

    Text that Python 2 wrote comes as bytes.

    Parameters
    ----------
    source : binary file
    name : str
        For errors.

    Raises
    ------
    InputError
        Naming what the pickle would have run.
    RawDataError
        If it is cut off or no pickle.
    """
    try:
        return _Restricted(source, name).load()
    except InputError:
        raise
    except MemoryError as error:
        raise RawDataError(
            "a pickle must fit into memory", f"{name} asks for more than there is", "is it the right file?"
        ) from error
    except (
        Exception
    ) as error:  # a torn pickle may raise anything: EOFError, ValueError, KeyError, UnicodeDecodeError …
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RawDataError("a pickle must be whole", f"{name}: {reason}", "download it again") from error


class _Restricted(pickle.Unpickler):
    def __init__(self, source: IO[bytes], name: str) -> None:
        super().__init__(source, encoding="bytes")
        self._name = name

    def find_class(self, module: str, name: str) -> Any:
        found = _allowed(module, name)
        if found is None:
            raise InputError(
                "a pickle may hold numpy arrays and plain containers only",
                f"{self._name} would call {module}.{name}",
                "do not trust this file: get it from the competition's own page",
            )
        return found

    def persistent_load(self, key: Any) -> Any:
        raise InputError(
            "a pickle may hold numpy arrays and plain containers only",
            f"{self._name} refers to {key!r}",
            "get the original",
        )


def _allowed(module: str, name: str) -> Callable[..., Any] | None:
    if module == "numpy" and name in ("ndarray", "dtype"):
        return np.ndarray if name == "ndarray" else np.dtype
    if module in _NUMPY and name == "_reconstruct":
        return _empty_array
    if module in _NUMPY and name == "_frombuffer":
        return _from_buffer
    if (module, name) == ("_codecs", "encode"):
        return _encode
    return None


def _empty_array(kind: type, shape: tuple[int, ...], _code: Any) -> Any:
    """What numpy's ``_reconstruct`` makes before the state is filled in: an empty array, never anything else."""
    if kind is not np.ndarray or tuple(shape) != (0,):
        raise ValueError("an array that is none")
    return np.ndarray.__new__(np.ndarray, (0,), dtype="b")


def _from_buffer(buffer: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> Any:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes in the old protocols; no other codec is wanted."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"text in {encoding}")
    return text.encode("latin1")
