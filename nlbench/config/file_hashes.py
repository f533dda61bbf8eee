"""Files that settings name count by content, not by path."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlbench.encoders.frozen_names import frozen_encoder
from nlbench.errors import DataError


def file_hashes(
    merged: Mapping[str, Any], selector: Mapping[str, Any], human_labels: str | None
) -> dict[str, str]:
    """Return the hash of each file or model folder that a setting names."""
    values = {
        "noise.matrix": merged["noise"].get("matrix"),
        "noise.labels": merged["noise"].get("labels"),
        "noise.label_file": human_labels,
        "protocol.prompts": merged["protocol"].get("prompts"),
        "protocol.image_text_encoder": merged["protocol"].get("image_text_encoder"),
        "protocol.image_encoder": merged["protocol"].get("image_encoder"),
        "selector.encoder": selector.get("encoder"),
        "trainer.network": frozen_encoder(str(merged["trainer"].get("network"))) or None,
    }
    hashes = {key: _content_hash(value) for key, value in values.items() if isinstance(value, str)}
    return {key: digest for key, digest in hashes.items() if digest}


def require_unchanged(files: Mapping[str, str], names: Mapping[str, Any]) -> None:
    """Refuse a file that was read, but is not the one that the fingerprint counts.

    A sweep resolves its runs at its start and reads their files hours later.

    Args:
        files: As `file_hashes` returned them.
        names: What was read, by setting.

    Raises:
        DataError: if the content is another one.
    """
    for key, name in names.items():
        if key in files and _content_hash(str(name)) != files[key]:
            raise DataError(
                f"`{key}` file '{name}' has changed since the run was configured. "
                "Restore it, or repeat the command to run with what it says now."
            )


def _content_hash(name: str) -> str:
    try:
        path = Path(name.removeprefix("local-dir:")).expanduser()
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        if name.startswith("local-dir:") != path.is_dir() or not files[0].is_file():
            return ""
    # "~somebody" who does not exist, a name that no file can have: no file of ours
    except (RuntimeError, OSError, ValueError):
        return ""
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
