"""Embeddings of augmented views: the same sample has the same views, whatever stands beside it."""

from __future__ import annotations

from contextlib import closing

import torch
from torch import Tensor

from nlbench.data.images import ImageSource, resized
from nlbench.encoders.base import Encoder
from nlbench.encoders.extract import embedding_precision, encoding_batch_size, read_ahead
from nlbench.selector import ViewKind

_PAD_SHARE = 8  # a view moves by up to 1/8 of the side, as the trainers' do


def view_embeddings(
    images: ImageSource,
    rows: Tensor,
    encoder: Encoder,
    device: torch.device,
    kind: ViewKind,
    draws: Tensor,
) -> Tensor:
    """Return unit-norm embeddings (V, N, d) float32 on `device`.

    Batch after batch: each is read once and encoded V times, and no image is kept.

    Args:
        images: All images.
        rows: (N,) positions.
        encoder: What encodes.
        device: Where it runs.
        kind: As in `moved`.
        draws: (V, N, 3) in [0, 1).
    """
    model = encoder.in_precision(embedding_precision(device, encoder))
    size = encoding_batch_size(encoder.input_size, device)
    batches = list(torch.arange(len(rows)).split(size))
    out: Tensor | None = None
    with closing(read_ahead(images, encoder, device, [rows[part] for part in batches])) as loaded:
        for part, batch in zip(batches, loaded, strict=True):
            pixels = resized(batch.to(device), encoder.input_size, encoder.fit)
            of_part = draws[:, part.to(draws.device)]
            for view, drawn in enumerate(of_part):
                features = model.encode_images(moved(pixels, kind, drawn), device)
                if out is None:
                    out = torch.empty(len(draws), len(rows), features.shape[1], device=device)
                out[view, part.to(device)] = features
    if out is None:
        raise ValueError("there are no rows")
    return out


def moved(images: Tensor, kind: ViewKind, draws: Tensor) -> Tensor:
    """Return every image shifted by up to 1/8 of its side, black where that leaves it.

    Args:
        images: (B, C, S, S) uint8.
        kind: "shift", or "crop-flip", which also mirrors half of them.
        draws: (B, 3) in [0, 1): how far down, how far across, whether mirrored.
    """
    side = images.shape[-1]
    pad = max(1, side // _PAD_SHARE)
    padded = torch.nn.functional.pad(images, (pad, pad, pad, pad))
    drawn = draws.to(images.device)
    down, across = (drawn[:, :2] * (2 * pad + 1)).long().T[:, :, None]
    line = torch.arange(side, device=images.device)
    rows, columns = down + line, across + line
    if kind == "crop-flip":
        columns = torch.where(drawn[:, 2:] < 0.5, columns.flip(1), columns)
    place = rows[:, :, None] * padded.shape[-1] + columns[:, None, :]
    places = place.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return padded.flatten(2).gather(2, places).view_as(images)
