"""Files by their contents: what a run's fingerprint holds of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbench.data import decoding
from nlbench.data.content_keys import Keys, keys_of
from nlbench.data.file_memory import remembered

# SHA-256 is about twice as fast as BLAKE2b where the processor has instructions for it.
_DIGEST = np.dtype("V32")
_BLOCK = 2**20


def digests(root: Path, names: Sequence[str]) -> npt.NDArray[Any]:
    """Return the SHA-256 of each file's content, (N,) values of 32 bytes; see `file_memory`.

    Args:
        root: The folder that names start from.
        names: (N,) file names, each once.

    Raises:
        DataError: if a file is missing or cannot be read.
    """
    return remembered(root, names, "sha256-1", _DIGEST, _sha256)


def contents_sha256(root: Path, names: Sequence[str]) -> str:
    """Return one SHA-256 of the names and contents of files, in their order."""
    digest = new_digest()
    add_contents(digest, names, digests(root, names))
    return digest.hexdigest()


def new_digest(text: str = "") -> hashlib._Hash:
    """Return a hash that holds a text and how files become pixels."""
    return hashlib.sha256(f"decoding {decoding.VERSION}\0{text}\0".encode())


def add_contents(digest: Any, names: Sequence[str], contents: npt.NDArray[Any]) -> None:
    """Feed each name and the digest of its content to a hash.

    Args:
        digest: Of `hashlib`.
        names: (N,) file names.
        contents: (N,) their digests.
    """
    for name, content in zip(names, contents, strict=True):
        digest.update(os.fsencode(name) + b"\0" + content.tobytes())


def file_keys(contents: Iterable[Any], wide: decoding.Range | None = None) -> Keys:
    """Return the keys of images that are decoded from files, whatever holds these.

    Args:
        contents: (N,) SHA-256 of their bytes.
        wide: Range of values of those with more than 8 bits.
    """
    start = f"decoding {decoding.VERSION} {tuple(wide) if wide else ''}\0".encode()
    return keys_of(start + bytes(content) for content in contents)


def _sha256(path: str) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a million times
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()
