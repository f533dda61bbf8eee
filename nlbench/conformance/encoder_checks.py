"""Checks of an encoder: what the embeddings are, and that nothing but the image decides them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nlbench.conformance.harness import ConformanceFailure
from nlbench.conformance.observe import (
    lent_random_states,
    random_states,
    require_kept_surroundings,
)
from nlbench.encoders.base import Encoder
from nlbench.seeds import derive_seed
from nlbench.surroundings import watched

_TEXTS = ("a photo of a cat", "a photo of a dog", "a sketch")
_CLOSE = 1e-4
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class EncoderCase:
    """What makes an encoder, and the argument behind the colon of its full name."""

    make: Callable[[str], Encoder]
    argument: str = ""


def made_again(case: EncoderCase) -> Encoder:
    """Make the encoder.

    Raises:
        DataError: if its weights are not on this machine.
    """
    encoder = case.make(case.argument)
    if not isinstance(encoder, Encoder):
        raise ConformanceFailure(
            f"an encoder must be an nlbench.Encoder, got {type(encoder).__name__}: derive from it, "
            "or return an instance of a class that does."
        )
    return encoder


# One entry: the checks come encoder by encoder.
@lru_cache(maxsize=1)
def _made(case: EncoderCase) -> Encoder:
    return made_again(case)


def planted_images(n: int = 6, channels: int = 3, height: int = 40, width: int = 28) -> Tensor:
    """Return seeded uint8 images (n, channels, height, width), each with its own gradient."""
    generator = torch.Generator().manual_seed(derive_seed("planted", "images of encoders"))
    low = torch.rand(n, channels, 3, 3, generator=generator) * 255
    scaled = torch.nn.functional.interpolate(low, (height, width), mode="bilinear")
    return scaled.round().to(torch.uint8)


def check_is_encoder(case: EncoderCase) -> None:
    """It is an nlbench.Encoder with a name, an input size, a mean and a standard deviation.

    Name and preprocessing are the key under which its embeddings are cached.
    """
    encoder = _made(case)
    if not isinstance(encoder.name, str) or not encoder.name:
        raise ConformanceFailure(f"`name` must be a text that is not empty, got {encoder.name!r}.")
    json.loads(encoder.preprocessing)
    if encoder.input_size < 1 or len(encoder.mean) != 3 or len(encoder.std) != 3:
        raise ConformanceFailure(
            "`input_size` must be at least 1, `mean` and `std` 3 numbers each, got "
            f"{encoder.input_size}, {encoder.mean}, {encoder.std}."
        )


def check_eval_mode(case: EncoderCase) -> None:
    """Every module is in eval mode and no weight asks for a gradient.

    Dropout and batch statistics would make an embedding depend on chance and on its neighbours.
    """
    model = _made(case).model
    training = [name or "the model" for name, module in model.named_modules() if module.training]
    if training:
        raise ConformanceFailure(
            f"every module must be in eval mode, {training[0]} is in training mode: "
            "`super().__init__` calls `model.eval()`; do not undo it."
        )
    asking = [name for name, weight in model.named_parameters() if weight.requires_grad]
    if asking:
        raise ConformanceFailure(
            f"an encoder must be frozen, {asking[0]!r} requires a gradient: "
            "`model.requires_grad_(False)`."
        )


def check_embeddings(case: EncoderCase) -> None:
    """Images of any size, grey or in colour, give finite float32 rows of length 1.

    Every similarity is a plain product of such rows.
    """
    encoder = _made(case)
    widths = set()
    for channels, height, width in ((3, 40, 28), (1, 8, 8), (3, 64, 64)):
        batch = planted_images(3, channels, height, width)
        rows = encoder.encode_images(batch, _CPU)
        what = f"{len(batch)} images of {channels} x {height} x {width}"
        _require_unit_rows(rows, len(batch), f"embeddings of {what}")
        widths.add(rows.shape[1])
    if len(widths) > 1:
        raise ConformanceFailure(
            f"embeddings must be equally wide for images of all sizes, got {sorted(widths)}."
        )


def check_tells_images_apart(case: EncoderCase) -> None:
    """Different images have different embeddings.

    With the same row for all there is nothing to select by.
    """
    rows = _made(case).encode_images(planted_images(), _CPU)
    if float((rows - rows[0]).abs().max()) < 1e-6:
        raise ConformanceFailure(
            "embeddings of different images must differ, got the same row for all. Is the input "
            "used, and normalised once only?"
        )


def check_deterministic(case: EncoderCase) -> None:
    """The same images give the same bits, and global random states stay as they are.

    Embeddings are cached: the first ones count for everyone.
    """
    encoder, batch = _made(case), planted_images()
    with lent_random_states():
        states = random_states()
        first, second = (encoder.encode_images(batch, _CPU) for _ in range(2))
        changed = [name for name, state in random_states().items() if state != states[name]]
    if not torch.equal(first, second):
        raise ConformanceFailure(
            "embeddings of the same images must be the same, got two different ones. Draw nothing "
            "in `forward_images`."
        )
    if changed:
        raise ConformanceFailure(
            f"an encoder must not touch the global random state of {' and '.join(changed)}."
        )


def check_surroundings(case: EncoderCase) -> None:
    """Torch, NumPy and the process are afterwards as they were before.

    A switch that is left behind changes the numbers of all that run after it, under their names.
    """
    with watched() as changed:
        made_again(case).encode_images(planted_images(), _CPU)
    require_kept_surroundings(changed, "an encoder")


def check_batch_independent(case: EncoderCase) -> None:
    """An image has the same embedding alone and among others.

    How many images fit into a batch depends on the machine.
    """
    encoder, batch = _made(case), planted_images(7)
    together = encoder.encode_images(batch, _CPU)
    alone = torch.cat([encoder.encode_images(batch[i : i + 1], _CPU) for i in range(len(batch))])
    off = float((together - alone).abs().max())
    if off > _CLOSE:
        raise ConformanceFailure(
            f"embeddings must not depend on the batch (within {_CLOSE:g}), got a difference of "
            f"{off:.2g}. Normalise by constants, not by the batch."
        )


def check_same_weights_when_made_again(case: EncoderCase) -> None:
    """Made twice it has the same weights.

    Weights that were not loaded are drawn anew, and every process would have other embeddings.
    """
    if _made(case).weights_sha256 != made_again(case).weights_sha256:
        raise ConformanceFailure(
            "weights must be the same each time it is made, got two different ones. Load them "
            "from a file, or draw them inside `with nlbench.scoring.seeded(generator):`."
        )


def check_text(case: EncoderCase) -> None:
    """Texts, where it takes them, give unit rows as wide as the images', each by itself.

    Zero-shot prediction multiplies both.
    """
    encoder = _made(case)
    if type(encoder).encode_text is Encoder.encode_text:
        return
    rows = encoder.encode_text(_TEXTS)
    _require_unit_rows(rows, len(_TEXTS), "text embeddings")
    width = encoder.encode_images(planted_images(1), _CPU).shape[1]
    if rows.shape[1] != width:
        raise ConformanceFailure(
            f"text embeddings must be as wide as image embeddings ({width}), got {rows.shape[1]}."
        )
    alone = torch.cat([encoder.encode_text([text]) for text in _TEXTS])
    if float((rows - alone).abs().max()) > _CLOSE:
        raise ConformanceFailure(
            "a text must have the same embedding alone and among others, got another one."
        )


def check_device(case: EncoderCase) -> None:
    """Embeddings are on the device asked for, CUDA where there is one.

    The selector's tensors are on the run's device.
    """
    encoder = _made(case)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = encoder.encode_images(planted_images(2), device)
    encoder.model.to(_CPU)
    if rows.device.type != device.type:
        raise ConformanceFailure(f"embeddings must be on {device}, got {rows.device}.")


ENCODER_CHECKS = (
    check_is_encoder,
    check_eval_mode,
    check_embeddings,
    check_tells_images_apart,
    check_deterministic,
    check_surroundings,
    check_batch_independent,
    check_same_weights_when_made_again,
    check_text,
    check_device,
)


def _require_unit_rows(rows: Tensor, n: int, what: str) -> None:
    if rows.ndim != 2 or len(rows) != n or rows.dtype != torch.float32:
        raise ConformanceFailure(
            f"{what} must be float32 ({n}, d), got {rows.dtype} {tuple(rows.shape)}."
        )
    if not bool(torch.isfinite(rows).all()):
        raise ConformanceFailure(f"{what} must be finite, got NaN or infinity.")
    off = float((rows.norm(dim=1) - 1).abs().max())
    if off > 1e-3:
        raise ConformanceFailure(
            f"{what} must have length 1, got one that is off by {off:.3g}: "
            "`torch.nn.functional.normalize(rows, dim=1)`."
        )
