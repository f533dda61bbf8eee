"""Files that every part writes: where, in one piece, in one text form; not what is in them."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nlbench.errors import RefusedError, refusals
from nlbench.files.urls import cache_url, home_url, is_url, mirror_folder

if TYPE_CHECKING:
    import yaml

MOST_LEVELS, MOST_VALUES = 64, 1_000_000


def home_dir() -> Path:
    """Return the folder for everything that nlbench writes, absolute.

    Where `NLBENCH_HOME` is a URL, it is the folder of this machine with copies of what is there.

    Raises:
        ConfigError: if it is a URL that is not allowed.
    """
    url = home_url()
    if url is not None:
        return mirror_folder(url)
    return Path(os.environ.get("NLBENCH_HOME") or "nlbench-runs").expanduser().absolute()


def cache_dir(home: Path | None = None) -> Path:
    """Return the cache's folder: `NLBENCH_CACHE`, else ``cache`` under the home folder.

    Where `NLBENCH_CACHE` is a URL, it is the folder of this machine with copies of what is there.

    Raises:
        ConfigError: if it is a URL that is not allowed.
    """
    named = os.environ.get("NLBENCH_CACHE")
    if not named:
        return (home or home_dir()) / "cache"
    url = cache_url() if is_url(named) else None
    return Path(named).expanduser().absolute() if url is None else mirror_folder(url)


def write_atomic(path: Path, content: str | bytes, *, is_synced: bool = True) -> None:
    """Write a file so that readers see the old content or the new, never a part of it.

    Args:
        path: The file; folders that are missing are made.
        content: Text goes as UTF-8.
        is_synced: Whether to wait until it is on the disk, so that it survives a power cut.

    Raises:
        RefusedError: if the operating system does not take it; what was there stays.
    """
    data = content.encode() if isinstance(content, str) else content
    with refusals(path), atomic_stream(path, is_synced=is_synced) as stream:
        stream.write(data)


@contextmanager
def atomic_stream(path: Path, *, is_synced: bool = True) -> Iterator[IO[bytes]]:
    """Write a file piece by piece; it takes its place at the end, or after an error not at all.

    Args:
        path: The file; folders that are missing are made.
        is_synced: As in `write_atomic`.
    """
    make_folder(path.parent)
    # Not the whole name: with more behind it a long one would be too long.
    prefix = f".{path.name[:40]}."
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            if is_synced:
                os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def make_folder(path: Path) -> None:
    """Make a folder and those above it, also while another process deletes them.

    Raises:
        OSError: if the operating system refuses, or something else is in its place.
    """
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # it was there, and is gone when Python looks what it is
            if os.path.lexists(path) and not path.is_dir():
                raise
        else:
            return


def entries_of(folder: Path) -> list[Path]:
    """Return what is in a folder, by name, without hidden names; nothing where there is no folder.

    Raises:
        RefusedError: if it cannot be listed: what nobody can see must not pass for nothing.
    """
    try:
        with refusals(folder, "read"), os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.name[:1] != ".")
    except RefusedError as error:
        if error.errno == errno.ENOENT and not folder.is_symlink():
            return []
        raise


def delete_all(paths: Iterable[Path]) -> tuple[int, list[str]]:
    """Delete files, and folders with all that is in them.

    Returns:
        The bytes freed, and a message per path that the operating system does not let go; all
        others are gone. What another process deletes meanwhile is gone as well.
    """
    freed = 0
    refused: list[str] = []
    for path in paths:
        try:
            with refusals(path, "deleted"):
                if path.is_dir() and not path.is_symlink():
                    n_bytes, inside = delete_all(sorted(path.iterdir()))
                    freed, refused = freed + n_bytes, refused + inside
                    if not inside:
                        path.rmdir()
                else:
                    n_bytes = path.lstat().st_size
                    path.unlink()
                    freed += n_bytes
        except RefusedError as error:
            refused += [] if error.errno == errno.ENOENT else [str(error)]
    return freed, refused


def readable(name: str) -> str:
    """Return a file name or label that can be written anywhere: what is not UTF-8 as escapes.

    >>> readable("caf\\udce9")
    'caf\\\\xe9'
    """
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, as JSON can hold it
        return name.encode("utf-8", "backslashreplace").decode()


def canonical_json(value: Mapping[str, Any]) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces; the input of every fingerprint.

    >>> canonical_json({"b": 1, "a": [1.5, None]})
    '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def is_file(path: Path) -> bool:
    """Return whether there is such a file; False, too, for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero in it
        return False


def read_file(path: Path, most_bytes: int) -> bytes:
    """Return the content of a file that somebody else wrote.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not a file (a pipe might never end) or larger than `most_bytes`.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("it is not a regular file")
    with path.open("rb") as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes / 2**20:g} MiB")
    return content


def read_if_there(path: Path, most_bytes: int = 4 * 2**30) -> bytes | None:
    """Return the content of a file that may be missing; None where there is nothing.

    Raises:
        RefusedError: if something is there that the operating system does not let us read.
        ValueError: as `read_file` raises it.
    """
    with refusals(path, "read"):
        return read_file(path, most_bytes) if os.path.lexists(path) else None


def parse_yaml(text: str, loader: type[yaml.SafeLoader] | None = None) -> Any:
    """Return what a YAML text says, if it is plain data of bounded depth, size and numbers.

    Args:
        text: The text.
        loader: What reads it; PyYAML's safe loader where left out.

    Raises:
        ValueError: whatever is wrong with it; the text says what.
    """
    import yaml

    try:
        content = yaml.load(text, Loader=loader or yaml.SafeLoader)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:  # a number of 5000 digits, a thirteenth month
        raise ValueError(f"a value cannot be read: {error}") from None
    except Exception as error:  # its constructors raise what they meet: TypeError, AttributeError
        raise ValueError(f"{type(error).__name__}: {error}") from None
    require_bounded(content)
    return content


def require_bounded(content: Any) -> None:
    """Refuse plain data that is too deep or too large, that contains itself, or has huge numbers.

    Aliases of YAML make a few lines into gigabytes: each place counts.

    Raises:
        ValueError: naming the rule.
    """
    n_values, parts = 0, [(content, 0)]
    while parts:
        value, depth = parts.pop()
        n_values += 1
        if depth > MOST_LEVELS:
            raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep")
        if n_values > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values")
        if isinstance(value, dict):
            parts += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple | set):
            parts += [(part, depth + 1) for part in value]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(
                f"whole numbers must fit 64 bits, got one of {value.bit_length()} bits"
            )
