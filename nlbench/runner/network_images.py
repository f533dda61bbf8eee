"""What a run's network gets: pixels, or the embeddings of its frozen encoder in their place."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.data.image_data import ImageData
from nlbench.data.images import ImageSource, StoredImages
from nlbench.encoders.base import Encoder
from nlbench.encoders.extract import embedding_precision, extract
from nlbench.encoders.features import cached_embeddings, load_encoder
from nlbench.encoders.frozen_names import frozen_encoder
from nlbench.encoders.shards import SHARD_ROWS
from nlbench.encoders.sharing import found_by_first
from nlbench.runner.inputs import Inputs
from nlbench.runner.workplace import Progress, no_progress


def network_encoder(inputs: Inputs) -> str:
    """Return the full name of the encoder below the network's head; empty if it sees pixels."""
    return frozen_encoder(str(inputs.config.trainer.params.get("network")))


def network_images(inputs: Inputs, part: str, progress: Progress = no_progress) -> StoredImages:
    """Return what the network is trained or tested on.

    Embeddings are those of the original images, as selectors get them and from the same cache.

    Args:
        inputs: Data and configuration.
        part: "train", "test" or the name of a further test set.
        progress: Called with (stage, done, total).

    Returns:
        Images at the protocol's size; for a frozen encoder (N, D, 1, 1) unit-norm float32 on the
        run's device.
    """
    name = network_encoder(inputs)
    if not name:
        return inputs.images(part, progress)
    progress("embed", 0, 1)
    device = inputs.workplace.device
    found = _embeddings(inputs, part, load_encoder(name))
    return found[:, :, None, None].to(device)


def _embeddings(inputs: Inputs, part: str, encoder: Encoder) -> Tensor:
    data, place = inputs.data, inputs.workplace
    if part in data.other_tests:
        # Not cached: further test sets are no part of the data's fingerprint, the cache's key.
        images = data.other_tests[part].images
        precision = embedding_precision(place.device, encoder)
        # In parts that cut no batch, so that several processes can share them.
        shards = torch.arange(len(images)).split(SHARD_ROWS)
        return found_by_first(
            lambda computed: torch.cat(list(computed(shards))),
            lambda part, told: extract(images, encoder, place.device, precision, part, told),
        )
    key = (data.name, f"{data.fingerprint}/{part}")
    return cached_embeddings(_images(data, part), key, encoder, place.device, place.embeddings)


def _images(data: ImageData, part: str) -> ImageSource:
    return data.train_images if part == "train" else data.test_images
