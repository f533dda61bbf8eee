"""Fetching one large file: goes on where it was cut off, shows how far it is, checks the end."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from filelock import FileLock

TIMEOUT_S = 30.0
_CHUNK = 2**20


def fetch(url: str, path: Path, md5: str) -> None:
    """Fetch a file; what was fetched before a break is kept beside it as ``NAME.part``.

    Args:
        url: Of the publisher.
        path: Where it goes; left alone where it is there and right.
        md5: Checksum that the publisher gives, hexadecimal.

    Raises:
        OSError: if the server cannot be reached, breaks off, or sends something else. What came
            from a server that broke off is kept for the next try, what is wrong is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path.exists() and _md5(path) == md5:
            return
        part = path.with_name(f"{path.name}.part")
        _fetch_rest(url, part)
        if _md5(part) != md5:
            part.unlink()
            raise OSError(f"the file has another checksum than {md5}")
        part.replace(path)


def _fetch_rest(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - the publisher's
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing
            return
        raise
    with answer:
        goes_on = answer.status == 206
        done = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with part.open("ab" if goes_on else "wb") as file:
            _copy(answer, file, part.stem, done, total)
    if total is not None and part.stat().st_size < total:
        raise OSError(
            f"the server broke off after {part.stat().st_size} of {total} bytes; try again"
        )


def _copy(answer: Any, file: Any, name: str, done: int, total: int | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), DownloadColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(name, completed=done, total=total)
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            bar.advance(task, len(chunk))


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # the publisher gives no other
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
