"""A Kaggle competition's data: listed, downloaded where it broke off, checked against its sizes, unpacked safely."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

from comp import events
from comp.config import whole_number
from comp.data import archives
from comp.data.download import ATTEMPTS, MEGA, require_room
from comp.errors import CompError, DownloadError, InputError, KaggleError, KaggleRefusal
from comp.files import atomic, make_folder, unwritable
from comp.kaggle.client import SITE, Kaggle
from comp.kaggle.credentials import scrub
from comp.kaggle.http import translated
from comp.kaggle.permissions import require_entered
from comp.kaggle.types import DataFile

BLOCK = 1 << 14  # bytes; what came of a block that broke off is lost
FEW = 50  # files that are fetched one by one; more come as one archive


def download(name: str, raw: Path) -> None:
    """Downloads the data of the Kaggle competition ``name`` into ``raw``; files that are there are left as they are.

    Raises
    ------
    KaggleRefusal
        If the rules were not accepted, with their page.
    DownloadError
        If a file keeps breaking off, or has another size than the listed one.
    InputError
        If another file of a name is there, or there is no room.
    """
    api = Kaggle.open()
    require_entered(api, name)
    try:
        _download(api, name, raw)
    except KaggleRefusal as problem:
        if problem.status not in (400, 403):
            raise
        remedy = f"accept the rules at {SITE}/{name}/rules, then the same command"
        raise KaggleRefusal(problem.rule, problem.value, remedy, status=problem.status) from problem


def _download(api: Kaggle, name: str, raw: Path) -> None:
    listed = api.files(name)
    if not listed:
        raise DownloadError("a competition's data has files", f"{name} lists none", "see its page")
    for one in listed:
        _require_inside(raw, one.name)
    total = sum(one.size for one in listed)
    wanted = [one for one in listed if not _is_there(raw, one)]
    events.log(f"{name}: {len(listed)} files, {total / MEGA:,.1f} MB; {len(listed) - len(wanted)} are there")
    make_folder(raw)
    if len(wanted) > FEW:
        _fetch_all(api, name, raw, wanted)
    else:
        for one in wanted:
            _fetch_one(api, name, raw, one)


def _require_inside(raw: Path, name: str) -> None:
    """Refuses a name that would lie outside the raw folder."""
    parts = name.replace("\\", "/").split("/")
    bad = not name or name.startswith("/") or ".." in parts or ":" in parts[0] or not name.isprintable()
    if bad or not (raw / name).resolve().is_relative_to(raw.resolve()):
        value = f"{scrub(name)!r} would lie outside {raw}"
        raise DownloadError("a data file must stay in its folder", value, "get it by hand, if you trust it")


def _is_there(raw: Path, one: DataFile) -> bool:
    """Whether a file is there in its listed size.

    Raises
    ------
    InputError
        If it is there in another size.
    """
    path = raw / one.name
    if not path.is_file():
        return False
    size = path.stat().st_size
    if one.size and size != one.size:
        value = f"{path} has {size:,} bytes, Kaggle's has {one.size:,}"
        raise InputError("a download never overwrites", value, "remove it, then download again")
    return True


def _fetch_one(api: Kaggle, name: str, raw: Path, one: DataFile) -> None:
    """One file; where Kaggle packed it on the way, it is unpacked."""
    path = raw / one.name
    make_folder(path.parent)
    part = path.with_name(path.name + ".part")
    served = _complete(api, name, one.name, part, path.name, one.size)
    if served == f"{path.name}.zip":
        _unwrap(part, path, one)
    else:
        _require_size(part, one, part.stat().st_size)
        os.replace(part, path)
    events.log(f"{one.name}: {path.stat().st_size:,} bytes, as listed")


def _unwrap(part: Path, path: Path, one: DataFile) -> None:
    """The one member of the zip that Kaggle made of a large file."""
    packed = part.with_name(f"{path.name}.part.zip")
    os.replace(part, packed)
    try:
        (member,) = archives.index(packed).files.values()
        _require_size(packed, one, member.size)
        with atomic(path) as new:
            new.write_bytes(archives.read(member))
    except ValueError as error:
        value = f"{one.name} came as an archive of several files"
        raise DownloadError(
            "a download must be the file that was asked for", value, "get it by hand"
        ) from error
    finally:
        packed.unlink(missing_ok=True)


def _fetch_all(api: Kaggle, name: str, raw: Path, wanted: list[DataFile]) -> None:
    """All files as one archive, unpacked member by member; the archive goes when all are there."""
    part = raw / f".{name}.zip.part"
    packed = raw / f".{name}.zip"
    if not packed.is_file():
        _complete(api, name, None, part, f"{name}.zip")
        os.replace(part, packed)
    try:
        members = archives.index(packed).files
        missing = [one.name for one in wanted if one.name not in members]
        if missing:
            value = f"{packed.name} lacks {len(missing)} of the listed files, first {missing[0]!r}"
            raise DownloadError("a download must be whole", value, "download again later")
        require_room(raw / "unpacked", sum(members[one.name].size for one in wanted))
        with events.task("unpacking, files", len(wanted)) as bar:
            for one in wanted:
                _require_size(packed, one, members[one.name].size)
                with atomic(raw / one.name) as new:
                    new.write_bytes(archives.read(members[one.name]))
                bar.advance()
    except CompError as problem:
        if not isinstance(problem, InputError) or "room" not in problem.rule:
            packed.unlink(missing_ok=True)
        raise
    packed.unlink()
    events.log(f"{len(wanted)} files unpacked, each of its listed size")


def _require_size(file: Path, one: DataFile, size: int) -> None:
    if one.size and size != one.size:
        file.unlink(missing_ok=True)
        value = f"{one.name}: {size:,} bytes, listed with {one.size:,}"
        raise DownloadError(
            "a download must have its listed size", value, "try again later, or get it by hand"
        )


def _complete(api: Kaggle, name: str, file: str | None, part: Path, title: str, size: int = 0) -> str:
    """Asks again, from where it broke off, until a file is whole; the name under which it was served.

    ``size`` is that of the file, where it is known and comes under its own name.
    """
    barren = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            whole, served = _attempt(api, name, file, part, title, size)
            if whole:
                return served
            problem: CompError = KaggleError("", f"{title}: the connection broke off")
        except (CompError, KeyboardInterrupt):
            raise
        except (Exception, SystemExit) as error:
            problem = translated(error, title, api.credential, api.patience)
            if not isinstance(problem, KaggleError) or problem.status in (401, 404):
                raise problem from error
        gained = (part.stat().st_size if part.is_file() else 0) > before
        barren = 0 if gained else barren + 1
        if barren >= ATTEMPTS:
            kept = "what is there is kept; the same command goes on" if part.is_file() else "try again later"
            raise DownloadError("the file must be reachable", f"{problem.value} ({ATTEMPTS} attempts)", kept)
        events.log(f"  {problem.value}; going on")
        time.sleep(min(30.0, api.patience.pause * 2**barren / 2))


def _attempt(api: Kaggle, name: str, file: str | None, part: Path, title: str, size: int) -> tuple[bool, str]:
    """One request, from where it broke off; whether the file is then whole, and the name it was served under."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    try:
        answer = api.data(name, file, have)
    except requests.HTTPError as error:
        if error.response is None or error.response.status_code != 416 or not have:
            raise
        ends = error.response.headers.get("Content-Range", "").rpartition("/")[2]
        if ends == str(have):  # the part is the whole file
            return True, _served(error.response)
        part.unlink()
        return False, ""
    with answer:
        told = _store(answer, part, title, have)
    served = _served(answer)
    return told or served != title or part.stat().st_size >= size, served


def _store(answer: Any, part: Path, title: str, have: int) -> bool:
    """Writes what comes, behind what is there if the server goes on from there; whether it told the length."""
    goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(
        f"bytes {have}-"
    )
    start = have if goes_on else 0
    length = answer.headers.get("Content-Length", "")
    rest = whole_number(length)
    total = 0 if rest is None else start + rest  # 0: nobody said
    require_room(part, total - start)
    done = start
    with events.task(f"{title}, MB", math.ceil(total / MEGA)) as bar:
        bar.advance(start // MEGA)
        with _opened(part, "ab" if goes_on else "wb") as out:
            for block in answer.iter_content(BLOCK):
                try:
                    out.write(block)
                except OSError as error:
                    raise unwritable(part, error) from error
                bar.advance((done + len(block)) // MEGA - done // MEGA)
                done += len(block)
    if total and done != total:
        raise ConnectionError(f"{title}: {done:,} of {total:,} bytes came")
    return total > 0


def _opened(part: Path, mode: str) -> Any:
    try:
        return part.open(mode)
    except OSError as error:
        raise unwritable(part, error) from error


def _served(answer: Any) -> str:
    """The last part of the address that the file came from."""
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(answer.url).path).rpartition("/")[2]
