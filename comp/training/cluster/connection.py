"""To a Ray cluster: whether one answers, and what Ray prints of its machines."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from comp.config import whole_number
from comp.errors import InputError
from comp.training.child_process import EventLines

KNOCK = 5.0  # seconds that a cluster's head has to answer in
_RULE = '`engine="ray"` needs a cluster that answers'
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def require_cluster(address: str | None) -> None:
    """Refuses an address at which nothing listens: Ray itself would ask again for minutes.

    Raises
    ------
    InputError
        For that, for an address of another form, and where Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError('`engine="ray"` needs Ray', "it is not installed", 'pip install "imgcomp[scale]"')
    address = address or os.environ.get("RAY_ADDRESS")
    if not address or address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    number = whole_number(port)
    if not host or "/" in host or number is None:
        remedy = "for example 10.0.0.1:6379, or auto"
        raise InputError("`address` is that of a Ray cluster's head", repr(address), remedy)
    try:
        socket.create_connection((host, number), KNOCK).close()
    except OSError as error:
        raise InputError(
            _RULE, f"{address}: {error}", "`ray start --head` on a machine begins one"
        ) from error


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; a connection that was there before stays.

    Whatever Ray prints meanwhile goes to the listeners, until it is shut down: it prints what waited only then.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield ray
        return
    with redirect_stdout(_RayLines()):
        _connect(ray, address or os.environ.get("RAY_ADDRESS"))
        try:
            yield ray
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        value = f"{address or 'this machine'}: {' '.join(str(error).split())[:200]}"
        remedy = "`ray start --head` begins one; RAY_AUTH_MODE=token where it wants a token"
        raise InputError(_RULE, value, remedy) from error


class _RayLines(EventLines):
    """What Ray prints of its machines, without colours; standard output belongs to the answer of the command."""

    def write(self, text: str) -> int:
        return super().write(_COLOURS.sub("", text))
