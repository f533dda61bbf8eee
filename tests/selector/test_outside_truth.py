"""Confident learning on a real network's probabilities of CIFAR-10's test images.

The probabilities and five people's verdicts are those of Northcutt, Athalye, Mueller, "Pervasive
Label Errors in Test Sets", NeurIPS Datasets and Benchmarks 2021, arXiv 2103.14749.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from nlbench import Selection, TrainingData
from nlbench.scoring.confident import FilterBy
from nlbench.selector import checked_answer
from nlbench_selectors.confident_learning import ConfidentLearning

# What cleanlab 2.9.0 flags: a later version that flags others must not pass unnoticed.
N_FLAGGED = {
    "prune_by_noise_rate": 284,
    "prune_by_class": 284,
    "both": 226,
    "confident_learning": 244,
}
N_CONFIRMED = 54


@dataclass(frozen=True)
class OwnProbabilities(ConfidentLearning):
    """Confident learning on probabilities that the user has already."""

    table: Any = None

    def probabilities(self, data: TrainingData) -> Tensor:
        return torch.from_numpy(self.table)


@dataclass(frozen=True)
class Released:
    labels: Any
    table: Any
    is_error: Any

    def answer(self, **settings: Any) -> Selection:
        data = TrainingData.from_arrays(self.labels, n_classes=10)
        return checked_answer(OwnProbabilities(table=self.table, **settings).select(data), data)


@pytest.fixture
def released(real_data: Path) -> Released:
    folder = real_data / "label_errors"
    if not folder.is_dir():
        pytest.skip(f"no '{folder}': it is github.com/cleanlab/label-errors' three CIFAR-10 files")
    labels = np.load(folder / "cifar10_test_set_original_labels.npy").astype(np.int64)
    verdicts = json.loads((folder / "cifar10_mturk.json").read_text())
    is_error = np.zeros(len(labels), dtype=bool)
    is_error[[v["id"] for v in verdicts if v["mturk"]["given"] < 3]] = True
    assert is_error.sum() == N_CONFIRMED
    return Released(labels, np.load(folder / "cifar10_test_set_pyx.npy"), is_error)


def test_every_filter_is_tried() -> None:
    assert set(N_FLAGGED) == set(get_args(FilterBy))


@pytest.mark.parametrize("filter_by", N_FLAGGED)
def test_it_flags_what_cleanlab_flags(released: Released, filter_by: str) -> None:
    from cleanlab.filter import find_label_issues

    theirs = find_label_issues(released.labels, released.table, filter_by=filter_by, n_jobs=1)
    ours = ~released.answer(filter_by=filter_by).keep.numpy()
    assert np.flatnonzero(ours).tolist() == np.flatnonzero(theirs).tolist()
    assert ours.sum() == N_FLAGGED[filter_by]


def test_its_score_ranks_as_cleanlab_does_and_finds_what_people_confirm(released: Released) -> None:
    from cleanlab.rank import get_label_quality_scores

    score = released.answer().score.numpy()
    theirs = get_label_quality_scores(
        released.labels, released.table, method="self_confidence", adjust_pred_probs=False
    )
    assert score.tolist() == theirs.tolist()
    assert roc_auc_score(released.is_error, -score) == pytest.approx(0.98819, abs=1e-5)
