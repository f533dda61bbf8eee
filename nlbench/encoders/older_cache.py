"""Embeddings that were stored by data set and position, as nlbench did before it knew images."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch

from nlbench.encoders.key_index import KnownImages
from nlbench.encoders.shards import UNREADABLE, Shard, write_shard
from nlbench.files import canonical_json


def take_over(
    folder: Path,
    entry: Path,
    identity: Mapping[str, str],
    known: KnownImages,
    metadata: Mapping[str, str],
) -> None:
    """Move what is stored of a data set by position to the entry of its encoder, bit for bit.

    Args:
        folder: Of all embeddings.
        entry: Of the encoder.
        identity: What the embeddings depend on, the data set among them.
        known: Its images.
        metadata: What is written into each shard.
    """
    by_position = {name: value for name, value in identity.items() if name != "data"}
    old = folder / hashlib.sha256(canonical_json(by_position).encode()).hexdigest()
    if old == entry or not old.is_dir():
        return
    for path in sorted(old.glob("[0-9]*.safetensors")):
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                value, stated = file.get_tensor("embeddings"), file.metadata()
            start, end = (int(text) for text in stated["rows"].split("-"))
            content = value.contiguous().view(torch.uint8).numpy().data
            numbers = known.numbers[start:end]
            if hashlib.sha256(content).hexdigest() == stated["sha256"]:
                write_shard(entry, Shard(known.keys[numbers], value), metadata)
        except UNREADABLE:  # damaged: computed again
            continue
    shutil.rmtree(old, ignore_errors=True)
    old.with_suffix(".lock").unlink(missing_ok=True)
