"""Plain arrays as training data, for notebooks and tests: checked and brought to unit norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from nlbench.data.labels import checked_labels, plain_array
from nlbench.errors import ConfigError


class ArrayFeatures:
    """Embeddings and text embeddings that were given as arrays, whatever encoder is asked for."""

    def __init__(
        self, labels: Tensor, n_classes: int, embeddings: Any, text: Sequence[Any] | None
    ) -> None:
        n, device = len(labels), labels.device
        self._embeddings = (
            None if embeddings is None else _unit_rows("embeddings", embeddings).to(device)
        )
        if self._embeddings is not None and len(self._embeddings) != n:
            raise ConfigError(
                f"`embeddings` must have a row for each of the {n} labels, "
                f"got {len(self._embeddings)}."
            )
        self._text = (
            None if text is None else [_unit_rows("text_embeddings", t).to(device) for t in text]
        )
        if self._text is not None and len(self._text) != n_classes:
            raise ConfigError(
                f"`text_embeddings` must contain one (P_k, d) array for each of the {n_classes} "
                f"classes, got {len(self._text)}."
            )
        self._check_widths()

    def _check_widths(self) -> None:
        for label, texts in enumerate(self._text or ()):
            if len(texts) == 0:
                raise ConfigError(f"`text_embeddings` has no prompt for class {label}.")
            if self._embeddings is not None and texts.shape[1] != self._embeddings.shape[1]:
                raise ConfigError(
                    f"`text_embeddings` must be as wide as `embeddings` "
                    f"({self._embeddings.shape[1]}), class {label} has {texts.shape[1]}."
                )

    def embeddings(self, encoder: str) -> Tensor:
        """Return (N, d)."""
        if self._embeddings is None:
            raise ConfigError("this data has no embeddings: pass `embeddings=` to `from_arrays`.")
        return self._embeddings

    def text_embeddings(self, prompts: object, encoder: str) -> list[Tensor]:
        """Return K tensors (P_k, d)."""
        if self._text is None:
            raise ConfigError(
                "this data has no text embeddings: pass `text_embeddings=` to `from_arrays`."
            )
        return self._text

    def logit_scale(self, encoder: str) -> tuple[float, float]:
        """Refuse: arrays come without their model."""
        raise ConfigError(
            "plain arrays come without their model's logit scale. Give the temperature as a number."
        )

    def prompt_model(self, encoder: str) -> NoReturn:
        """Refuse: arrays come without their model."""
        raise ConfigError(
            "plain arrays come without their model, so prompts cannot be learned on them. Run the "
            "selector on a data set: `nlbench run --selector NAME`."
        )

    def view_embeddings(self, encoder: str, kind: object, draws: object) -> NoReturn:
        """Refuse: arrays come without their model."""
        raise ConfigError(
            "plain arrays come without their model, so views of images cannot be embedded. Run "
            "the selector on a data set: `nlbench run --selector NAME`."
        )


def _unit_rows(name: str, value: Any) -> Tensor:
    rows = tensor_of(name, value).to(torch.float32)
    if rows.ndim != 2 or not bool(torch.isfinite(rows).all()):
        raise ConfigError(f"`{name}` must be finite and 2-D (rows, d), got {tuple(rows.shape)}.")
    return torch.nn.functional.normalize(rows, dim=1)


def tensor_of(name: str, values: Any) -> Tensor:
    """Return numbers as a tensor, one that is a tensor already where it is.

    Raises:
        ConfigError: if they are not numbers.
    """
    if isinstance(values, Tensor):
        return values
    array = plain_array(values)
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"`{name}` must be numbers, got {array.dtype}.")
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def label_tensor(values: Any, n_classes: int, class_names: Sequence[str] | None) -> Tensor:
    """Return noisy labels as int64, on the device where they are.

    Raises:
        ConfigError: if they are neither whole numbers in [0, K) nor class names, in one dimension.
    """
    labels = torch.from_numpy(checked_labels("noisy_labels", values, n_classes, class_names))
    return labels.to(values.device) if isinstance(values, Tensor) else labels
