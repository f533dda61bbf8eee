"""Predictions of a network, in eval mode and without augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from nlbench.data.images import StoredImages, part_of
from nlbench.machine.ranks import active

# What fits into a CPU's cache is evaluated twice as fast; a GPU needs large batches.
_EVAL_BATCH = {"cpu": 256}
_EVAL_BATCH_ELSEWHERE = 2048
_EVAL_PIXELS = 2**24  # fewer at once where images are large


def as_input(images: Tensor) -> Tensor:
    """Return uint8 images as floats with mean about 0: (x / 255 - 0.5) / 0.5.

    Floats are embeddings of a frozen encoder and stay as they are.
    """
    if images.is_floating_point():
        return images
    return images.float().div_(127.5).sub_(1.0)


def in_batches(images: StoredImages) -> Iterator[Tensor]:
    """Yield the images in parts of the size that is fastest."""
    most = _EVAL_BATCH.get(images.device.type, _EVAL_BATCH_ELSEWHERE)
    n_at_once = min(most, max(1, _EVAL_PIXELS // images.shape[2:].numel()))
    yield from images.split(n_at_once)


def in_shares(images: StoredImages, of_part: Callable[[StoredImages, slice], Tensor]) -> Tensor:
    """Return what is computed of all images, where several processes compute a part each.

    Args:
        images: (N, C, H, W).
        of_part: Called with this process's part and its rows, returns a row for each of them.
    """
    ranks, n = active(), len(images)
    if ranks is None or n < ranks.n:
        return of_part(images, slice(0, n))
    rows = ranks.share(n)
    return ranks.whole(of_part(part_of(images, torch.arange(rows.start, rows.stop)), rows), n)


def predict(network: nn.Module, images: StoredImages, autocast: bool) -> Tensor:
    """Return float32 logits (N, K) in eval mode, without augmentation."""
    return in_shares(images, lambda part, _: _predicted(network, part, autocast))


@torch.no_grad()
def _predicted(network: nn.Module, images: StoredImages, autocast: bool) -> Tensor:
    network.eval()
    parts = []
    for batch in in_batches(images):
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=autocast):
            parts.append(network(as_input(batch)).float())
    return torch.cat(parts)
