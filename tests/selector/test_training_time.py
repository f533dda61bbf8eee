"""AUM, Early Cutting and wrong events against slow references, on a training played by hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import beta
from torch import Tensor

from nlbench import ConfigError, Dynamics, Selection, TrainingData, get_selector

N, K, N_EPOCHS = 60, 3, 12
Look = Callable[[int, int], Tensor]  # (round, epoch) -> one epoch's row of a history


def data_of(seed: int = 0, rate: float = 0.4, ids: Sequence[int] | None = None) -> TrainingData:
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, K, N))
    return TrainingData.from_arrays(labels, K, noise_rate=rate, seed=seed, sample_ids=ids)


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def play(
    name: str,
    data: TrainingData,
    looks: dict[str, Look],
    n_epochs: int = N_EPOCHS,
    **settings: Any,
) -> list[Selection]:
    """Return the answers of the last epoch of every round."""
    selector: Any = get_selector(name, **settings)
    rows: dict[str, list[Tensor]] = {what: [] for what in looks}
    answers, previous = [], None
    for number in range(1, selector.rounds_used() + 1):
        answer: Selection | None = None
        for epoch in range(1, n_epochs + 1):
            for what, look in looks.items():
                rows[what].append(look(number, epoch))
            logits = rows["logits"][-1]
            losses = torch.nn.functional.cross_entropy(logits, data.noisy_labels, reduction="none")
            observed = {
                what: (lambda value: lambda: value)(
                    latest[-1] if what == "input gradients" else torch.stack(latest)
                )
                for what, latest in rows.items()
            }
            dynamics = Dynamics(
                epoch, n_epochs, losses, logits, losses[None], (), number, previous, observed
            )
            answer = selector.select(data, dynamics)
            previous = replace(answer, restart=False)
            if answer.restart:
                break
        assert answer is not None
        answers.append(answer)
    return answers


def logits_at(number: int, epoch: int) -> Tensor:
    return 2 * numbers(N, K, seed=1000 * number + epoch)


# AUM ----------------------------------------------------------------------------------------------


def margins_at(number: int, epoch: int) -> Tensor:
    """Return margins that differ by sample, and NaN for some that were not drawn."""
    by_sample = numbers(N, seed=7) + 0.3 * numbers(N, seed=1000 * number + epoch)
    return by_sample.where(torch.arange(N) % 11 != epoch % 11, torch.nan)


def slow_blocks(data: TrainingData) -> list[list[int]]:
    drawn = data.uniform("samples with the extra class").tolist()
    order, size = sorted(range(N), key=drawn.__getitem__), N // (K + 1)
    return [order[:size], order[size : 2 * size]]


def slow_aum(number: int, n_counted: int) -> list[float]:
    """Return each sample's mean margin over the first epochs of a round in which it was drawn."""
    rows = [margins_at(number, epoch).tolist() for epoch in range(1, n_counted + 1)]
    return [
        statistics.mean([row[i] for row in rows if row[i] == row[i]])  # not NaN
        for i in range(N)
    ]


def slow_flags(aum: list[float], block: list[int]) -> list[bool]:
    """Flag what lies below more than one per cent of the block, as the released code does."""
    return [statistics.mean([aum[j] > one for j in block]) > 0.01 for one in aum]


@pytest.mark.parametrize(("seed", "n_epochs", "n_counted"), [(0, 12, 6), (1, 8, 4), (2, 11, 6)])
def test_aum_drops_what_every_training_that_judges_it_flags(
    seed: int, n_epochs: int, n_counted: int
) -> None:
    data = data_of(seed)
    blocks = slow_blocks(data)
    flags = [slow_flags(slow_aum(r, n_counted), blocks[r - 1]) for r in (1, 2)]
    looks = {"margin history": margins_at, "logits": logits_at}
    _, second, measured = play("aum", data, looks, n_epochs)
    judged = [
        [flags[r][i] for r in (0, 1) if i not in blocks[r]]  # a block is not judged by its own
        for i in range(N)
    ]
    assert second.keep.tolist() == [not all(each) for each in judged]
    assert torch.equal(second.keep, measured.keep)
    assert 0 < int(measured.keep.sum()) < N
    assert set(blocks[0]).isdisjoint(blocks[1])


def test_aum_scores_by_the_larger_lead_over_the_largest_margins_of_fake_labels() -> None:
    data = data_of()
    blocks, aums = slow_blocks(data), [slow_aum(1, 6), slow_aum(2, 6)]
    looks = {"margin history": margins_at, "logits": logits_at}
    answer = play("aum", data, looks)[-1]
    tops = [max(aums[r][j] for j in blocks[r]) for r in (0, 1)]  # 1 % of 15 is less than one
    expected = [max(aums[r][i] - tops[r] for r in (0, 1) if i not in blocks[r]) for i in range(N)]
    assert answer.score.tolist() == pytest.approx(expected, abs=1e-5)
    assert answer.diagnostics["aum_thresholds"] == pytest.approx(tops, abs=1e-4)


def test_aum_gives_each_block_its_class_from_the_first_step_of_its_round() -> None:
    data = data_of()
    blocks = slow_blocks(data)
    looks = {"margin history": margins_at, "logits": logits_at}
    selector: Any = get_selector("aum")
    answers = [selector.first(data), *play("aum", data, looks)]
    for answer, fake in zip(answers[:2], blocks, strict=True):
        assert answer.labels is not None
        assert (answer.labels == K).nonzero().flatten().tolist() == sorted(fake)
        others = torch.tensor([i for i in range(N) if i not in fake])
        assert torch.equal(answer.labels[others], data.noisy_labels[others])
        assert bool(answer.keep.all())
    assert answers[-1].labels is None


def test_aum_blocks_stay_with_their_samples() -> None:
    ids, order = torch.arange(N) * 17, torch.randperm(N, generator=torch.Generator().manual_seed(0))
    selector: Any = get_selector("aum")
    first = selector.first(data_of(ids=ids.tolist())).labels == K
    moved = selector.first(data_of(ids=ids[order].tolist())).labels == K
    assert torch.equal(first[order], moved)


def test_aum_by_a_mixture_takes_one_training_and_no_extra_class() -> None:
    data, wrong = data_of(), torch.arange(N) < 20

    def margins(number: int, epoch: int) -> Tensor:
        return torch.where(wrong, -2.0, 2.0) + 0.5 * numbers(N, seed=epoch)

    looks = {"margin history": margins, "logits": logits_at}
    answers = play("aum", data, looks, threshold="mixture")
    assert len(answers) == 2
    assert torch.equal(answers[-1].keep, ~wrong)
    assert answers[0].labels is None
    mean = torch.stack([margins(1, e) for e in range(1, 7)]).mean(dim=0)
    assert answers[-1].score.allclose(mean, atol=1e-6)


def test_aum_keeps_everything_where_nothing_leads() -> None:
    def margins(number: int, epoch: int) -> Tensor:
        return (selector.first(data).labels == K).float() + fake_of_round(number)

    data, selector = data_of(), get_selector("aum")  # type: ignore[var-annotated]
    blocks = slow_blocks(data)

    def fake_of_round(number: int) -> Tensor:
        fake = torch.zeros(N)
        fake[blocks[min(number, 2) - 1]] = 5.0
        return fake

    answer = play("aum", data, {"margin history": margins, "logits": logits_at})[-1]
    assert answer.diagnostics["n_above"] == 0
    assert bool(answer.keep.all())


# Wrong events -------------------------------------------------------------------------------------


def predictions_at(number: int, epoch: int) -> Tensor:
    """Return predictions that are right more often for the first samples; some not drawn."""
    draws = np.random.default_rng(epoch).random(N)
    right = torch.from_numpy(draws < np.linspace(1.0, 0.0, N) ** 2)
    shown = torch.where(right, data_of().noisy_labels, (data_of().noisy_labels + 1) % K)
    return shown.where(torch.arange(N) % 9 != epoch % 9, -1)


@pytest.mark.parametrize(("counted", "n_epochs", "used"), [(5, 30, 5), (3, 30, 3), (5, 6, 3)])
def test_wrong_events_are_the_share_of_mispredicted_draws(
    counted: int, n_epochs: int, used: int
) -> None:
    data = data_of()
    looks = {"training predictions": predictions_at, "logits": logits_at}
    (answer,) = play("wrong-event", data, looks, n_epochs, counted_epochs=counted)
    rows = [predictions_at(1, epoch).tolist() for epoch in range(1, used + 1)]
    shares = []
    for i, label in enumerate(data.noisy_labels.tolist()):
        drawn = [row[i] for row in rows if row[i] != -1]
        shares.append(sum(one != label for one in drawn) / len(drawn))
    assert answer.score.tolist() == pytest.approx([-share for share in shares])
    assert answer.keep.tolist() == [p > 0.5 for p in slow_clean_posterior(shares)]
    assert 0 < int(answer.keep.sum()) < N
    assert answer.diagnostics == {"counted_epochs": used}


def slow_clean_posterior(events: list[float]) -> list[float]:
    """IDO's beta mixture on the events themselves, few first, as its released code has it."""
    low, high = min(events), max(events)
    x = np.array([1e-6 + (1 - 2e-6) * (e - low) / (high - low) for e in events])
    a, b, w = [1.0, 2.0], [2.0, 1.0], [0.5, 0.5]
    for _ in range(20):
        p = np.stack([w[k] * beta.pdf(x, a[k], b[k]) for k in (0, 1)])
        p = p / p.sum(axis=0)
        for k in (0, 1):
            mean = np.average(x, weights=p[k])
            var = max(np.average((x - mean) ** 2, weights=p[k]), 1e-6)
            a[k] = mean * (mean * (1 - mean) / var - 1)
            b[k] = a[k] * (1 - mean) / mean
        b[0] = 1.1 if b[0] < 1.02 else b[0]
        a[1] = 1.1 if a[1] < 1.02 else a[1]
        w = list(p.mean(axis=1))
    few, many = (w[k] * beta.pdf(x, a[k], b[k]) for k in (0, 1))
    return list(few / (few + many))


def test_before_wrong_events_are_counted_everything_is_kept_and_the_decision_stays() -> None:
    data = data_of()
    selector: Any = get_selector("wrong-event", counted_epochs=3)
    rows, previous, kept = [], None, []
    for epoch in range(1, 8):
        rows.append(predictions_at(1, epoch))
        look = {"training predictions": torch.stack(rows).clone}
        logits = logits_at(1, epoch)
        previous = selector.select(
            data, Dynamics(epoch, 20, logits[:, 0], logits, logits.T, (), 1, previous, look)
        )
        kept.append(previous.keep)
    assert [bool(keep.all()) for keep in kept] == [True] * 2 + [False] * 5
    assert all(torch.equal(keep, kept[2]) for keep in kept[2:])


# Early Cutting ------------------------------------------------------------------------------------


def slow_learning_time(predictions: list[list[int]], label: int, i: int, warmup: int) -> int:
    for epoch in range(warmup + 3, len(predictions) + 1):
        if all(predictions[e - 1][i] == label for e in (epoch, epoch - 1, epoch - 2)):
            return epoch
    return 0


def learning(number: int, epoch: int) -> Tensor:
    """Return logits that favour the label from an epoch on that differs by sample, with slips."""
    labels, slips = data_of().noisy_labels, numbers(N, seed=31 * number + epoch) > 1.2
    since = torch.arange(N) % 15
    right = (epoch >= since) & ~slips
    logits = 0.1 * numbers(N, K, seed=97 * number + epoch)
    shown = torch.where(right, labels, (labels + 1) % K)
    logits[torch.arange(N), shown] += 1 + numbers(N, seed=5).abs()
    return logits


EARLY: dict[str, Look] = {
    "logits": learning,
    "prediction history": lambda number, epoch: learning(number, epoch).argmax(dim=1),
    "input gradients": lambda number, epoch: numbers(N, seed=number).abs(),
}


def slow_early_cutting(
    data: TrainingData, share: float, warmup: int, candidate_share: float, cut_share: float
) -> tuple[list[list[int]], int]:
    """Return the samples kept after each of three rounds, and how many were cut."""
    labels, draw = data.noisy_labels.tolist(), data.uniform("equal values").tolist()
    kept, sets, n_cut = list(range(N)), [], 0
    for number in (1, 2, 3):
        seen: list[list[int]] = []
        for epoch in range(1, N_EPOCHS + 1):
            seen.append(learning(number, epoch).argmax(dim=1).tolist())
            times = {i: slow_learning_time(seen, labels[i], i, warmup) for i in kept}
            learned = [i for i in kept if times[i]]
            if len(learned) >= share * len(kept):
                break
        if number == 1:
            early = sorted(learned, key=lambda i: (times[i], draw[i]))[: int(len(learned) / 1.5)]
            p = learning(1, epoch).double().softmax(dim=1)
            loss = {i: -float(p[i, labels[i]].log()) for i in early}
            hard = sorted(early, key=lambda i: -loss[i])[: round(candidate_share * N)]
            size, gradients = int(cut_share * len(hard)), EARLY["input gradients"](1, epoch)
            confident = sorted(hard, key=lambda i: -float(p[i].max()))[:size]
            flat = sorted(hard, key=lambda i: float(gradients[i]))[:size]
            cut = set(confident) & set(flat)
            n_cut, learned = len(cut), [i for i in learned if i not in cut]
        kept = learned
        sets.append(kept)
    return sets, n_cut


@pytest.mark.parametrize(
    ("share", "warmup", "candidate_share", "cut_share"),
    [(0.4, 4, 0.5, 0.6), (0.3, 6, 0.06, 0.2), (0.9, 2, 0.9, 0.7), (1.0, 0, 0.2, 1.0)],
)
def test_early_cutting_equals_a_slow_one(
    share: float, warmup: int, candidate_share: float, cut_share: float
) -> None:
    data = data_of()
    sets, n_cut = slow_early_cutting(data, share, warmup, candidate_share, cut_share)
    *rounds, measured = play(
        "early-cutting",
        data,
        EARLY,
        learned_share=share,
        warmup_epochs=warmup,
        candidate_share=candidate_share,
        cut_share=cut_share,
    )
    assert [answer.keep.nonzero().flatten().tolist() for answer in rounds] == sets
    assert torch.equal(measured.keep, rounds[-1].keep)
    assert measured.diagnostics["round_1"]["n_cut"] == n_cut


def test_the_slow_one_cuts_something() -> None:
    assert slow_early_cutting(data_of(), 0.4, 4, 0.5, 0.6)[1] > 0


def test_early_cutting_ranks_by_rounds_survived_and_then_by_learning_time() -> None:
    data = data_of()
    *rounds, measured = play("early-cutting", data, EARLY, learned_share=0.5, warmup_epochs=2)
    survived = torch.stack([answer.keep for answer in rounds]).int().cumprod(dim=0).sum(dim=0)
    score = measured.score
    for n_rounds in (0, 1, 2):
        if bool((survived == n_rounds).any()) and bool((survived > n_rounds).any()):
            assert score[survived == n_rounds].max() < score[survived > n_rounds].min()
    assert len(survived.unique()) > 2
    last = [learning(3, epoch).argmax(dim=1).tolist() for epoch in range(1, N_EPOCHS + 1)]
    members = measured.keep.nonzero().flatten().tolist()
    labels = data.noisy_labels.tolist()
    times = {i: slow_learning_time(last, labels[i], i, 2) for i in members}
    for i in members:
        assert all(score[i] > score[j] for j in members if times[i] < times[j])


@pytest.mark.parametrize(("rate", "share"), [(0.4, 0.85), (0.2, 0.925), (0.0, 1.0), (0.8, 0.7)])
def test_the_learned_share_is_on_the_line_through_the_published_ones(
    rate: float, share: float
) -> None:
    data = data_of(rate=rate)
    by_rate = play("early-cutting", data, EARLY, warmup_epochs=2)
    by_share = play("early-cutting", data, EARLY, warmup_epochs=2, learned_share=share)
    assert torch.equal(by_rate[-1].keep, by_share[-1].keep)
    assert by_rate[-1].diagnostics == by_share[-1].diagnostics


def test_early_cutting_is_given_the_noise_rate_only_where_it_needs_it() -> None:
    assert get_selector("early-cutting").knowledge_used() == ("noise rate",)
    assert get_selector("early-cutting", learned_share=0.8).knowledge_used() == ()


def test_where_nothing_is_learned_the_samples_stay() -> None:
    never: dict[str, Look] = {
        **EARLY,
        "prediction history": lambda number, epoch: (data_of().noisy_labels + 1) % K,
    }
    answers = play("early-cutting", data_of(), never)
    assert all(bool(answer.keep.all()) for answer in answers)
    assert answers[-1].diagnostics["round_3"] == {"ended_after": N_EPOCHS, "n_learned": 0}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("aum", {"percentile": 100.0}),
        ("aum", {"threshold": "gmm"}),
        ("aum", {"counted_share": 0.0}),
        ("wrong-event", {"counted_epochs": 0}),
        ("wrong-event", {"theta": 1.0}),
        ("early-cutting", {"learned_share": 0.0}),
        ("early-cutting", {"early_rate": 0.5}),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"'{name}': hyper-parameter '{next(iter(settings))}'"):
        get_selector(name, **settings)
