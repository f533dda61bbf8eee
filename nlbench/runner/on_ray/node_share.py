"""What a node takes from the cluster: data sets that were read elsewhere, and embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from nlbench.config.run_config import DataConfig
from nlbench.data.image_data import ImageData
from nlbench.encoders.cache import EmbeddingCache
from nlbench.errors import NlbenchError
from nlbench.files import canonical_json
from nlbench.runner.on_ray.embeddings import ClusterCache

_MOST_DATA_SETS = 2  # in a process, as where it reads them itself


class NodeShare:
    """The `Shared` of a node.

    Args:
        references: To the data sets that were read elsewhere, by `data_key`.
        kept: The data sets that this process has, which are added to.
        post: The actor that knows the embeddings.
    """

    def __init__(self, references: Mapping[str, Any], kept: dict[str, Any], post: Any) -> None:
        self._references, self._kept, self._post = references, kept, post

    def data(self, dataset: DataConfig) -> ImageData | None:
        """Return a data set; None where each process reads it itself."""
        key = data_key(dataset)
        if key not in self._references:
            return None
        if key not in self._kept:
            while len(self._kept) >= _MOST_DATA_SETS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = _fetched(self._references[key])
        data: ImageData = self._kept[key]
        return data

    def embeddings(self, folder: Path) -> EmbeddingCache:
        """Return this node's cache."""
        return ClusterCache(folder, self._post)


def data_key(dataset: DataConfig) -> str:
    """Return what tells data sets apart, their content included."""
    return canonical_json(dataset.model_dump())


def _fetched(reference: Any) -> ImageData:
    try:
        data: ImageData = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, NlbenchError):
            raise error.cause from None
        raise
    # Arrays from the object store are read-only, which torch warns of; labels are small.
    return replace(data, train_labels=data.train_labels.copy(), test_labels=data.test_labels.copy())
