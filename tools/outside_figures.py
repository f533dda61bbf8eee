"""What people say of CIFAR-10's test labels, and how a ranking agrees; for outside_truth.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap, entropy, spearmanr
from sklearn.metrics import roc_auc_score

LABELS = "label_errors/cifar10_test_set_original_labels.npy"
VERDICTS = "label_errors/cifar10_mturk.json"
RELEASED = "label_errors/cifar10_test_set_pyx.npy"
COUNTS = "cifar10h/cifar10h-counts.npy"
N_TOP = 100
MOST = 3  # of five people: a label that fewer chose is a confirmed error

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """What people say of N labels.

    Attributes:
        labels: (N,) the labels that are judged.
        judged: (N,) which of them five people were asked about.
        confirmed: (N,) which of these fewer than three of the five chose.
        entropy: (N,) of the answers of about fifty people, in nats.
        outvoted: (N,) which labels fewer than half of the fifty chose.
    """

    labels: npt.NDArray[np.int64]
    judged: Bools
    confirmed: Bools
    entropy: Floats
    outvoted: Bools


@dataclass(frozen=True)
class Figures:
    """How one ranking agrees with people; the last three count among the most suspicious."""

    auroc: float
    auroc_judged: float
    auroc_outvoted: float
    spearman: float
    top_judged: float
    top_confirmed: float
    top_outvoted: float


def read_truth(folder: Path) -> Truth:
    """Read what people said."""
    labels = np.load(folder / LABELS).astype(np.int64)
    verdicts = json.loads((folder / VERDICTS).read_text(encoding="utf-8"))
    counts = np.load(folder / COUNTS).astype(np.float64)
    judged, confirmed = np.zeros(len(labels), dtype=bool), np.zeros(len(labels), dtype=bool)
    for verdict in verdicts:
        judged[verdict["id"]] = True
        confirmed[verdict["id"]] = verdict["mturk"]["given"] < MOST
    share = counts[np.arange(len(labels)), labels] / counts.sum(axis=1)
    return Truth(labels, judged, confirmed, entropy(counts, axis=1), share < 0.5)


def figures(suspicion: Floats, truth: Truth, n_top: int = N_TOP) -> Figures:
    """Compare a ranking with people; equal suspicions at the cut go by position."""
    top = np.argsort(-suspicion, kind="stable")[:n_top]
    return Figures(
        auroc=roc_auc_score(truth.confirmed, suspicion),
        auroc_judged=roc_auc_score(truth.confirmed[truth.judged], suspicion[truth.judged]),
        auroc_outvoted=roc_auc_score(truth.outvoted, suspicion),
        spearman=spearmanr(suspicion, truth.entropy).statistic,
        top_judged=int(truth.judged[top].sum()),
        top_confirmed=int(truth.confirmed[top].sum()),
        top_outvoted=int(truth.outvoted[top].sum()),
    )


def standard_error(suspicion: Floats, truth: Truth, n_resamples: int = 100) -> float:
    """Return how much the AUROC for confirmed errors would vary with other images."""

    def auroc(errors: Floats, others: Floats) -> float:
        is_error = np.repeat([True, False], [len(errors), len(others)])
        return float(roc_auc_score(is_error, np.concatenate([errors, others])))

    parts = suspicion[truth.confirmed], suspicion[~truth.confirmed]
    drawn = bootstrap(
        parts, auroc, n_resamples=n_resamples, vectorized=False, method="percentile",
        random_state=np.random.default_rng(0),
    )  # fmt: skip
    return float(drawn.standard_error)
