"""Downloads: resumed where they broke off, checked against the published sum, and only then given their name."""

from __future__ import annotations

import hashlib
import http.client
import math
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from comp import events
from comp._version import __version__
from comp.config import whole_number
from comp.errors import DownloadError, InputError
from comp.files import make_folder, unwritable

MIRROR = (
    "COMP_MIRROR"  # another place for the files, by their names: a mirror at home, or a test's own server
)
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 5  # in a row that bring nothing
PAUSE = 1.0  # seconds before the second attempt, doubled each time
BLOCK = 1 << 18
MEGA = 1_000_000


def fetch(url: str, path: Path, md5: str) -> None:
    """Downloads ``url`` to ``path``; what broke off lies beside it as ``.part`` and is gone on with.

    Parameters
    ----------
    url : str
        ``COMP_MIRROR`` in the environment names another folder for files of the same name.
    path : Path
    md5 : str
        The published sum of the whole file.

    Raises
    ------
    DownloadError
        If the server cannot be reached, says no, keeps breaking off, or sends other bytes than the published ones.
    InputError
        If another file of that name is there, or the place cannot be written to.
    """
    if path.is_file():
        if md5_of(path) == md5:
            events.log(f"{path.name} is there, and its md5 is the published one")
            return
        value = f"{path} has another md5 than the published {md5}"
        raise InputError("a download never overwrites", value, "remove it, then download again")
    make_folder(path.parent)
    mirror = os.environ.get(MIRROR)
    address = f"{mirror.rstrip('/')}/{path.name}" if mirror else url
    part = path.with_name(path.name + ".part")
    resumed = part.is_file() and part.stat().st_size > 0
    _complete(address, part)
    if md5_of(part) != md5 and resumed:  # the part may have been of another file: once more, from nothing
        events.log(f"{part.name} does not go together with what was downloaded now; starting anew")
        part.unlink()
        _complete(address, part)
    found = md5_of(part)
    if found != md5:
        part.unlink()
        raise DownloadError(
            "a download must have its published md5",
            f"{address}: {found}, published {md5}",
            "try again later, or get it by hand",
        )
    os.replace(part, path)
    events.log(f"{path.name}: {path.stat().st_size:,} bytes, md5 as published")


def md5_of(path: Path) -> str:
    """The md5 of a file, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _complete(address: str, part: Path) -> None:
    """Asks again, from where it broke off, until the file is whole; gives up when attempts bring nothing."""
    barren = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _attempt(address, part, before):
                return
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and before:  # the part is as long as the file, or longer
                    if error.headers.get("Content-Range", "").rpartition("/")[2] == str(before):
                        return
                    part.unlink()
                elif error.code < 500 and error.code != 429:
                    raise DownloadError(
                        "the server must have the file",
                        f"{address}: {error.code} {error.reason}",
                        _by_hand(part),
                    ) from error
                reason = f"{error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        gained = (part.stat().st_size if part.is_file() else 0) > before
        barren = 0 if gained else barren + 1
        if barren >= ATTEMPTS:
            raise DownloadError(
                "the file must be reachable", f"{address}: {reason} ({ATTEMPTS} attempts)", _by_hand(part)
            )
        time.sleep(PAUSE * 2**barren / 2)


def _attempt(address: str, part: Path, have: int) -> bool:
    """One request, from byte ``have``; whether the file is then whole as far as the server says."""
    headers = {"User-Agent": f"comp/{__version__}", **({"Range": f"bytes={have}-"} if have else {})}
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT) as answer:
        continues = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        start = have if continues else 0
        length = answer.headers.get("Content-Length")
        rest = whole_number(length or "")
        total = 0 if rest is None else start + rest  # 0: nobody said
        require_room(part, total - start)
        done = start
        with events.task(part.name.removesuffix(".part") + ", MB", math.ceil(total / MEGA)) as bar:
            bar.advance(start // MEGA)
            try:
                with part.open("ab" if continues else "wb") as out:
                    for block in _blocks(answer):
                        out.write(block)
                        bar.advance((done + len(block)) // MEGA - done // MEGA)
                        done += len(block)
            except OSError as error:
                if isinstance(error, (TimeoutError, ConnectionError)):
                    raise
                raise unwritable(part, error) from error
    return done == total if total else True


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while block := answer.read(BLOCK):
        yield block


def require_room(part: Path, wanted: int) -> None:
    """InputError where the folder of ``part`` has no room for so many bytes."""
    free = shutil.disk_usage(part.parent).free
    if wanted > free:
        value = f"{part.parent} has {free / MEGA:,.0f} MB free, the rest of the file needs {wanted / MEGA:,.0f} MB"
        raise InputError(
            "the disk must have room for the download",
            value,
            "free some space, or name another folder with `data=DIR`",
        )


def _by_hand(part: Path) -> str:
    kept = "; what is there is kept, the same command goes on" if part.is_file() else ""
    return f"are you online? or put {part.name.removesuffix('.part')} into {part.parent} by hand{kept}"
