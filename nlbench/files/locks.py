"""Locks on files that the operating system drops when a process dies; not all folders have them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def locked(path: Path) -> Iterator[bool | None]:
    """Hold the lock on a file, which is made where it is missing, and do not wait for it.

    Yields:
        True where it is held; False where another process or thread has it; None where the lock
        excludes nobody, as on NFS without a lock service.

    Raises:
        OSError: if the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        yield _take(descriptor) and (is_locked(path) or None)
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return whether a process has a lock; True where nobody can know, as of another user's."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.EISDIR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _UNSUPPORTED
    finally:
        os.close(descriptor)
    return False


def _take(descriptor: int) -> bool | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
