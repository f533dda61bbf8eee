"""Training at an equal kept share: the same number for everyone, whoever stands in the row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nlbench
from nlbench import Selection, TrainingData
from nlbench.results.metrics import precision_at
from nlbench.runner.equal_keep import keep_top_share, keep_top_share_after_warmup

shares = st.floats(0.01, 1)
scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=40)


def data_of(n: int, ids: list[int] | None = None, seed: int = 0) -> TrainingData:
    return TrainingData.from_arrays([i % 2 for i in range(n)], 2, sample_ids=ids, seed=seed)


def answer(score: list[float]) -> Selection:
    keep = torch.zeros(len(score), dtype=torch.bool)
    keep[0] = True
    return Selection(keep=keep, score=torch.tensor(score), weights=keep.float())


@settings(deadline=None)
@given(scores, shares)
def test_as_many_as_asked_for_are_kept_and_none_beats_them(
    score: list[float], share: float
) -> None:
    found = keep_top_share(answer(score), data_of(len(score)), share)
    assert int(found.keep.sum()) == max(1, round(share * len(score)))
    if not found.keep.all():
        assert found.score[found.keep].min() >= found.score[~found.keep].max()
    assert found.weights is None


@settings(deadline=None)
@given(scores, shares, st.randoms())
def test_the_order_of_the_samples_plays_no_part(score: list[float], share: float, random) -> None:  # type: ignore[no-untyped-def]
    n = len(score)
    order = list(range(n))
    random.shuffle(order)
    plain = keep_top_share(answer(score), data_of(n), share).keep
    moved = keep_top_share(answer([score[i] for i in order]), data_of(n, ids=order), share).keep
    assert moved.tolist() == [bool(plain[i]) for i in order]


def test_ties_fall_differently_with_another_seed() -> None:
    kept = [keep_top_share(answer([0.0] * 200), data_of(200, seed=s), 0.5).keep for s in (0, 1)]
    assert not torch.equal(*kept)


def test_without_a_share_the_answer_stays() -> None:
    given_answer = answer([0.1, 0.2])
    assert keep_top_share(given_answer, data_of(2), None) is given_answer


def test_the_warm_up_of_an_online_selector_stays() -> None:
    everything = Selection(keep=torch.ones(4, dtype=torch.bool), score=torch.arange(4.0))
    assert keep_top_share_after_warmup(everything, data_of(4), 0.5) is everything
    chosen = keep_top_share_after_warmup(answer([0.0, 1.0, 2.0, 3.0]), data_of(4), 0.5)
    assert chosen.keep.tolist() == [False, False, True, True]


@pytest.mark.parametrize("selector", ["none", "random", "clip-knn", "small-loss", "oracle"])
def test_every_selector_trains_on_the_same_share(selector: str, tmp_path: Path) -> None:
    record = nlbench.run(
        selector, recipe="quick/digits", epochs=4, device="cpu", track=False,
        settings={"protocol.equal_keep": 0.5}, home=tmp_path,
    )  # fmt: skip
    assert record.metrics is not None
    found = record.metrics.selection
    n = record.dataset.n_train - record.protocol.settings["n_val"]
    assert found.kept_fraction == round(0.5 * n) / n
    assert record.protocol.id.startswith("v1-keep0.5")
    assert record.protocol.settings["equal_keep"] == 0.5
    # Where nothing ties, what is kept is what is measured.
    if selector in ("clip-knn", "small-loss"):
        assert found.precision == pytest.approx(found.precision_at_50, abs=0.01)
    if selector == "small-loss":
        assert record.curves["kept_fraction"][-1] == pytest.approx(0.5, abs=1e-3)
        assert record.curves["kept_fraction"][0] == 1.0


def test_the_precision_at_a_share_of_a_perfect_and_of_no_ranking() -> None:
    clean = [True] * 6 + [False] * 4
    assert precision_at([1.0] * 6 + [0.0] * 4, clean, 0.6) == 1.0
    assert precision_at([0.0] * 10, clean, 0.3) == pytest.approx(0.6)
    assert precision_at([0.0] * 10, clean, 0.0) is None
