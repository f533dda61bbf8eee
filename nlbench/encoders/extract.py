"""From images to embeddings, batch after batch: the next one is read while one is encoded."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import cast, get_args

import torch
from torch import Tensor

from nlbench.data.images import ImageSource, TensorImages
from nlbench.encoders.base import Encoder, Precision
from nlbench.errors import ConfigError
from nlbench.machine import has_bfloat16_tiles

PRECISION_VARIABLE = "NLBENCH_EMBEDDING_PRECISION"

_BATCH = 512
_BATCH_PIXELS = 2**24  # 256 images of 224 x 224: their float32 copy takes 150 MiB
_CPU_BATCH, _CPU_PIXELS = 32, 2**19  # larger ones leave the processor's caches and are slower
_LEAST = 16  # below it oneDNN and MKL add in another order: other last bits
_READ_AHEAD = 2
_LARGE = 1_000_000  # weights
_BF16_SINCE = (8, 0)  # CUDA compute capability with bfloat16 matrix units


# Called with (images encoded, images).
Progress = Callable[[int, int], None]


def nothing_shown(done: int, total: int) -> None:
    """Show nothing."""


def embedding_precision(device: torch.device, encoder: Encoder) -> Precision:
    """Return the arithmetic of an encoder on a device; `NLBENCH_EMBEDDING_PRECISION` overrides it.

    float32 for encoders that need it. For others bfloat16 where a CUDA device has matrix units for
    it, and on a CPU that has (Intel AMX) for encoders large enough to gain from it
    (docs/performance-embedding.md).

    Raises:
        ConfigError: if the variable holds something else.
    """
    setting = os.environ.get(PRECISION_VARIABLE, "auto")
    if setting in get_args(Precision):
        return cast("Precision", setting)
    if setting != "auto":
        raise ConfigError(
            f"{PRECISION_VARIABLE} must be auto, float32 or bfloat16, got {setting!r}."
        )
    if encoder.needs_float32:
        return "float32"
    if device.type == "cuda":
        is_fast = torch.cuda.get_device_capability(device) >= _BF16_SINCE
    else:
        n_weights = sum(weights.numel() for weights in encoder.model.parameters())
        is_fast = device.type == "cpu" and n_weights >= _LARGE and has_bfloat16_tiles()
    return "bfloat16" if is_fast else "float32"


def extract(
    images: ImageSource,
    encoder: Encoder,
    device: torch.device,
    precision: Precision,
    shards: Sequence[Tensor],
    progress: Progress = nothing_shown,
) -> Iterator[Tensor]:
    """Return the embeddings of the images at these positions, shard after shard.

    The batches are cut within each shard, so that a shard has the same bits whatever was done
    before it, and whatever the number of readers. A batch has at least 16 images, the last one
    repeated where there are fewer: then no built-in encoder's embedding depends on a CPU on which
    images are beside it (docs/performance-embedding.md).

    Args:
        images: What is encoded.
        encoder: What encodes.
        device: Where it runs.
        precision: Its arithmetic.
        shards: (n,) positions each.
        progress: Called with (images encoded, images).

    Yields:
        (len(shard), d) float32 on the CPU.

    Raises:
        DataError: naming the image, if one cannot be decoded.
    """
    size = encoding_batch_size(encoder.input_size, device)
    batches = [part for shard in shards for part in shard.split(size)]
    model = encoder.in_precision(precision)
    done, total = 0, sum(map(len, shards))
    with closing(read_ahead(images, encoder, device, batches)) as loaded:
        for shard in shards:
            n_batches = math.ceil(len(shard) / size)
            parts = []
            for batch in islice(loaded, n_batches):
                parts.append(_encoded(model, batch, device))
                done += len(batch)
                progress(done, total)
            # One copy back per shard: each makes the host wait for the device.
            yield torch.cat(parts).cpu()


def _encoded(model: Encoder, batch: Tensor, device: torch.device) -> Tensor:
    n_lacking = max(0, _LEAST - len(batch))
    filled = torch.cat([batch, batch[-1:].expand(n_lacking, -1, -1, -1)]) if n_lacking else batch
    return model.encode_images(filled, device)[: len(batch)]


def encoding_batch_size(side: int, device: torch.device) -> int:
    """Return how many images are encoded at once: a power of two, which fills shards evenly.

    On a CPU as many as are fast (docs/performance-embedding.md), elsewhere as many as fit.
    """
    fitting = min(_BATCH, _BATCH_PIXELS // side**2)
    if device.type == "cpu":
        fitting = min(fitting, max(_CPU_BATCH, _CPU_PIXELS // side**2))
    return int(2 ** (max(1, fitting).bit_length() - 1))


def read_ahead(
    images: ImageSource, encoder: Encoder, device: torch.device, batches: Sequence[Tensor]
) -> Generator[Tensor, None, None]:
    """Return the batches of pixels in order; the next ones are being read meanwhile."""
    # Images in memory go to the device as they are, to be resized there.
    side = None if isinstance(images, TensorImages) else encoder.input_size

    def read(positions: Tensor) -> Tensor:
        batch = images.load(positions, side, fit=encoder.fit)
        return batch.pin_memory() if device.type == "cuda" and not batch.is_cuda else batch

    # One thread: sources decode in threads of their own, and need not be safe to be asked twice
    # at once.
    pool = ThreadPoolExecutor(1)
    pending: deque[Future[Tensor]] = deque()
    try:
        for positions in batches:
            pending.append(pool.submit(read, positions))
            if len(pending) > _READ_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
