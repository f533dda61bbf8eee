"""The manifest of a data set's embeddings: which shards have its images, and that none is missing.

A JSON file beside the shards. Reading embeddings does not need it: it says that all are there, and
what each shard was when they were. A later merge of small shards gives some another name; then the
manifest is older than its shards, and `nlbench embed` writes a new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nlbench.encoders.survey import Survey
from nlbench.errors import RefusedError, RunError
from nlbench.files import read_if_there, write_atomic

FORMAT = 1
_SUFFIX = ".manifest.json"
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class Manifest:
    """All embeddings of a data set by one encoder.

    Attributes:
        data: The data set's name.
        fingerprint: What identifies its content.
        encoder: What the embeddings depend on, by name.
        images: Number of images by part, "train" and "test"; copies count each time.
        different: Number of different images, each stored once.
        dimensions: Of an embedding.
        shards: By file: rows, images of this data set, sha256, and the machine that made it.
    """

    data: str
    fingerprint: str
    encoder: Mapping[str, str]
    images: Mapping[str, int]
    different: int
    dimensions: int
    shards: tuple[Mapping[str, Any], ...]

    @property
    def n_images(self) -> int:
        """Number of images of all parts."""
        return sum(self.images.values())

    def path(self, entry: Path) -> Path:
        """Return its file in the folder of the encoder."""
        return entry / f"{hashlib.sha256(self.fingerprint.encode()).hexdigest()[:32]}{_SUFFIX}"

    def is_current(self, entry: Path) -> bool:
        """Return whether all its shards are there, by name."""
        return all((entry / shard["name"]).is_file() for shard in self.shards)


def write_manifest(entry: Path, manifest: Manifest, found: Survey) -> Path:
    """Write a manifest and read it back.

    Args:
        entry: Folder of the encoder's embeddings.
        manifest: What it says; its shards are replaced by those that were found.
        found: What is stored.

    Raises:
        RunError: if an image is missing, or is there more than once.
        RefusedError: if it cannot be written.
    """
    n_found = sum(shard.images for shard in found.shards)
    if len(found.missing) or n_found != manifest.different:
        raise RunError(
            f"{n_found} of {manifest.different} different images of {manifest.data} have an "
            f"embedding of {manifest.encoder['encoder']}. Repeat the same command for the rest."
        )
    path = manifest.path(entry)
    content = {"format": FORMAT, **asdict(manifest)}
    write_atomic(path, json.dumps(content, indent=1) + "\n")
    if _read(path) != manifest:
        raise RefusedError(f"'{path}' is not what was just written. Check the disk.")
    return path


def manifests(folder: Path) -> Iterator[tuple[Path, Manifest]]:
    """Return all manifests in a cache's folder, each with its encoder's folder.

    One that says nothing is passed over.
    """
    for path in sorted(folder.glob(f"*/*{_SUFFIX}")):
        manifest = _read(path)
        if manifest is not None:
            yield path.parent, manifest


def _read(path: Path) -> Manifest | None:
    try:
        content = json.loads(read_if_there(path, _MOST_BYTES) or b"")
        if content.pop("format") != FORMAT:
            return None
        return Manifest(**{**content, "shards": tuple(content["shards"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
