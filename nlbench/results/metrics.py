"""How good a selection is; the positive class is "this label is clean"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nlbench.data.labels import plain_array, whole_labels
from nlbench.errors import ConfigError

_KEPT_SHARES = {"precision_at_25": 0.25, "precision_at_50": 0.5, "precision_at_75": 0.75}
_NEED_TRUTH = (
    "precision",
    "recall",
    "f1",
    "auroc",
    "auprc",
    "noise_rate_before",
    "noise_rate_after",
    "worst_class_recall",
    *_KEPT_SHARES,
    "precision_at_clean_share",
)


class SelectionLike(Protocol):
    """Anything with `keep` and `score`; a `nlbench.Selection` is one."""

    @property
    def keep(self) -> Any:
        """(N,) bool."""

    @property
    def score(self) -> Any:
        """(N,) float, higher = cleaner."""


def evaluate_selection(
    selection: SelectionLike,
    noisy_labels: Any,
    clean_labels: Any,
    class_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measure a selection against the truth.

    The decision (precision, recall, F1, kept fraction, noise rates, worst-class recall) is
    measured on `keep`, the ranking (AUROC, AUPRC, precision at an equal kept share) on `score`.

    Args:
        selection: With `keep` (N,) bool and `score` (N,) float; corrected `labels`, where
            given, count for `noise_rate_after`.
        noisy_labels: (N,) integers, or names out of `class_names`; a list, an array, a tensor, a
            pandas object, or what `nlbench.corrupt` returned.
        clean_labels: The same, or None where nobody knows them.
        class_names: K names; needed where labels are text.

    Returns:
        Shares in [0, 1]; without clean labels all but ``kept_fraction`` are None.
        ``precision`` is 0 where nothing is kept; ``auroc`` and ``auprc`` are
        None where all labels are clean or none is, ``worst_class_recall`` where no class has a
        clean sample. ``recall_per_class`` goes by class id up to
        the largest label, None for a class without a clean sample.

    Raises:
        ConfigError: if the lengths differ, or labels are neither whole numbers nor class names.

    >>> import torch, nlbench
    >>> answer = nlbench.Selection(keep=torch.tensor([True, True, False]),
    ...                            score=torch.tensor([0.9, 0.2, 0.4]))
    >>> evaluate_selection(answer, [0, 1, 1], [0, 0, 1])["precision"]
    0.5
    """
    keep = plain_array(selection.keep).astype(bool)
    score = plain_array(selection.score).astype(np.float64)
    noisy = whole_labels("noisy_labels", noisy_labels, class_names)
    truth = (
        noisy if clean_labels is None else whole_labels("clean_labels", clean_labels, class_names)
    )
    if not len(keep) == len(score) == len(noisy) == len(truth):
        raise ConfigError(
            "selection and labels must have the same length, got "
            f"keep {len(keep)}, score {len(score)}, noisy {len(noisy)}, clean {len(truth)}."
        )
    if clean_labels is None:
        return {**dict.fromkeys(_NEED_TRUTH), "kept_fraction": float(keep.mean())}
    clean = noisy == truth
    hits = int((keep & clean).sum())
    precision, recall = _share(hits, int(keep.sum())), _share(hits, int(clean.sum()))
    corrected = getattr(selection, "labels", None)
    used = noisy if corrected is None else whole_labels("labels", corrected, class_names)
    per_class = _recall_per_class(keep, clean, noisy)
    auroc, auprc = _ranking(clean, score)
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if hits else 0.0,
        "auroc": auroc,
        "auprc": auprc,
        "kept_fraction": float(keep.mean()),
        "noise_rate_before": float(1 - clean.mean()),
        "noise_rate_after": _share(int((used != truth)[keep].sum()), int(keep.sum())),
        "worst_class_recall": min((r for r in per_class if r is not None), default=None),
        "recall_per_class": per_class,
        **{key: precision_at(score, clean, share) for key, share in _KEPT_SHARES.items()},
        "precision_at_clean_share": precision_at(score, clean, float(clean.mean())),
    }


def precision_at(score: Any, clean: Any, share: float) -> float | None:
    """Return the share of clean labels among the top-scored ones: precision at a kept share.

    Samples that tie at the border count by the share of clean ones among them, which is the mean
    over all orders of the tied: the answer does not depend on the order of the samples.

    Args:
        score: (N,) float, higher = cleaner.
        clean: (N,) bool.
        share: How much to keep, in [0, 1]; rounded to whole samples.

    Returns:
        A share in [0, 1]; None where no sample would be kept.

    >>> precision_at([0.9, 0.8, 0.8, 0.1], [True, True, False, False], 0.5)
    0.75
    """
    scores, is_clean = plain_array(score).astype(np.float64), plain_array(clean).astype(bool)
    n_kept = round(share * len(scores))
    if n_kept == 0:
        return None
    border = np.partition(scores, len(scores) - n_kept)[len(scores) - n_kept]
    above, tied = scores > border, scores == border
    room = n_kept - int(above.sum())
    return float((is_clean[above].sum() + room * is_clean[tied].mean()) / n_kept)


def _ranking(clean: npt.NDArray[np.bool_], score: npt.NDArray[np.float64]) -> tuple[Any, Any]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    if clean.all() or not clean.any():
        return None, None
    # A share can exceed 1 by one unit in the last place of a float sum.
    return (
        min(1.0, float(roc_auc_score(clean, score))),
        min(1.0, float(average_precision_score(clean, score))),
    )


def _recall_per_class(keep: Any, clean: Any, noisy: Any) -> list[float | None]:
    n_clean = np.bincount(noisy[clean], minlength=int(noisy.max()) + 1)
    n_hits = np.bincount(noisy[clean & keep], minlength=len(n_clean))
    return [float(h / n) if n else None for h, n in zip(n_hits, n_clean, strict=True)]


def accuracy_per_class(predicted: Any, labels: Any, n_classes: int) -> list[float | None]:
    """Return the accuracy within each class, None for a class without samples."""
    predicted, labels = plain_array(predicted), plain_array(labels)
    total = np.bincount(labels, minlength=n_classes)
    right = np.bincount(labels[predicted == labels], minlength=n_classes)
    return [float(r / n) if n else None for r, n in zip(right, total, strict=True)]


def score_histogram(score: Any, clean: Any, bins: int = 40) -> dict[str, list[float]]:
    """Count clean and noisy samples per bin of the score, for the record's figure.

    Where `clean` is None, ``all`` samples are counted together.
    """
    values = plain_array(score).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    if clean is None:
        counts = np.histogram(values, edges)[0].astype(float)
        return {"edges": edges.tolist(), "all": counts.tolist()}
    is_clean = plain_array(clean).astype(bool)
    return {
        "edges": edges.tolist(),
        "clean": np.histogram(values[is_clean], edges)[0].astype(float).tolist(),
        "noisy": np.histogram(values[~is_clean], edges)[0].astype(float).tolist(),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
