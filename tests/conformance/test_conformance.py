"""The checks that every selector must pass: over all selectors, and each shown able to fail."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest
import torch

from nlbench.config.methods import check_pair
from nlbench.conformance import CHECKS, CHECKS_BY_KIND, ConformanceFailure, check_selector
from nlbench.conformance.observe import _watched
from nlbench.conformance.results import rule_and_reason
from nlbench.errors import ConfigError, PluginError
from nlbench.plugins import registry
from nlbench.plugins.registry import selector_class, selector_names
from nlbench.selector import (
    BatchSelector,
    BoundSelector,
    Dynamics,
    OnlineSelector,
    Selection,
    Selector,
)
from nlbench.selector import TrainingData as Data
from nlbench.selector.dynamics import Observation
from nlbench.training.cross_entropy import CrossEntropy

CHECK_NAMES = [check.__name__ for check in CHECKS]
EVERYTHING = set(CHECK_NAMES)
ANSWERS = {name for name in CHECK_NAMES if CHECK_NAMES.index(name) >= 9}


@pytest.mark.parametrize("check", CHECK_NAMES)
@pytest.mark.parametrize("name", selector_names())
def test_registered_selector(name: str, check: str) -> None:
    (result,) = check_selector(selector_class(name), name=name, only=[check])
    if result.status == "exempt":
        pytest.xfail(result.message)
    assert result.status == "passed", result.message


def test_there_are_selectors() -> None:
    assert selector_names()


# Selectors that pass everything, one of each kind.


@dataclass(frozen=True)
class Good(Selector):
    tau: float = 0.07
    threshold: float = 0.5

    knowledge = ("class names", "image-text pre-training")

    def probabilities(self, data: Data) -> torch.Tensor:
        images = data.embeddings()
        texts = data.text_embeddings()
        p = torch.stack([((images @ t.T) / self.tau).exp().mean(dim=1) for t in texts], dim=1)
        return p / p.sum(dim=1, keepdim=True)

    def score(self, data: Data) -> torch.Tensor:
        return self.probabilities(data).gather(1, data.noisy_labels[:, None])[:, 0]

    def select(self, data: Data) -> Selection:
        score = self.score(data)
        keep = score >= self.threshold
        return Selection(keep=keep, score=score, diagnostics={"n_kept": int(keep.sum())})


@dataclass(frozen=True)
class GoodOnline(OnlineSelector):
    keep_share: float = 0.5

    history_epochs = 3

    def select(self, data: Data, dynamics: Dynamics) -> Selection:
        assert len(dynamics.loss_history) == min(3, dynamics.epoch)
        assert torch.equal(dynamics.loss_history[-1], dynamics.losses)
        loss = dynamics.loss_history.mean(dim=0)
        return Selection(keep=loss <= loss.quantile(self.keep_share), score=-loss)


@dataclass(frozen=True)
class GoodBound(BoundSelector):
    conformance_exempt = {"check_cannot_reach_clean_labels": "a bound is given the truth"}  # noqa: RUF012

    def select_with_truth(self, data: Data, clean_labels: torch.Tensor) -> Selection:
        keep = clean_labels == data.noisy_labels
        return Selection(keep=keep, score=keep.float())


@pytest.mark.parametrize("good", [Good, GoodOnline, GoodBound])
def test_good_selector_passes(good: type) -> None:
    results = check_selector(good)
    assert [r.name for r in results] == CHECK_NAMES
    assert [r.message for r in results if r.status == "failed"] == []


# One selector for each check, broken in just that way.


class NotADataclass(Good):
    pass


@dataclass(frozen=True)
class NoKind:
    conformance_exempt: ClassVar[dict[str, str]] = {}


@dataclass(frozen=True)
class FieldWithoutType(Good):
    power = 2.0


@dataclass(frozen=True)
class UnknownType(Good):
    power: NoSuchType = 2.0  # type: ignore[name-defined]  # noqa: F821


@dataclass(frozen=True, kw_only=True)
class NoDefault(Good):
    power: float


@dataclass(frozen=True)
class StillAbstract(Selector):
    pass


@dataclass(frozen=True, repr=False)
class MuteRepr(Good):
    def __repr__(self) -> str:
        return "<MuteRepr>"


@dataclass(frozen=True, eq=False)
class ComparesByIdentity(Good):
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class TakesUnknownNames(Good):
    no_such_hyper_parameter: int = 0


@dataclass(frozen=True)
class TakesAnyType(Good):
    power: Any = 2.0


@dataclass(frozen=True)
class UnknownKnowledge(Good):
    knowledge = (*Good.knowledge, "class name")  # type: ignore[assignment]


@dataclass(frozen=True)
class NoSuchTrainer(Good):
    trainer = "cross-entropi"


@dataclass(frozen=True)
class ObservesTheUnknown(GoodOnline):
    observes = ("feature",)  # type: ignore[assignment]


@dataclass(frozen=True)
class ObservesAText(GoodOnline):
    observes = "features"  # type: ignore[assignment]


@dataclass(frozen=True)
class NoRounds(GoodOnline):
    rounds = 0


@dataclass(frozen=True)
class UsesNoRounds(GoodOnline):
    def rounds_used(self) -> int:
        return 0


@dataclass(frozen=True)
class NoExtraClasses(GoodOnline):
    extra_classes = -1


@dataclass(frozen=True)
class NoNetworks(GoodOnline):
    n_networks = 0


@dataclass(frozen=True)
class NoNetworksInABatch(BatchSelector):
    n_networks = 0

    def choose(self, data: Data, batch: Any, losses: torch.Tensor, logits: torch.Tensor) -> Any:
        return torch.ones_like(losses)


@dataclass(frozen=True)
class NoHistory(GoodOnline):
    history_epochs = 0


@dataclass(frozen=True)
class RoundsOfItsOwn(Good):
    """A hyper-parameter of a selector that chooses once."""

    rounds: int = 0


DECLARED = {
    NoSuchTrainer: "`trainer` of selector 'X' must be the name of a trainer, got 'cross-entropi'. "
    "Did you mean 'cross-entropy'",
    ObservesTheUnknown: "must name what a training can show, got 'feature'. Did you mean "
    "'features'?",
    ObservesAText: "must be a tuple of observations, got 'features'. Write `observes = "
    "('features',)`",
    NoRounds: "`rounds` of selector 'X' must be a whole number of at least 1, got 0: the training",
    UsesNoRounds: "`rounds_used()` of selector 'X' must be a whole number of at least 1, got 0",
    NoExtraClasses: "`extra_classes` of selector 'X' must be a whole number of at least 0, got -1",
    NoNetworks: "`n_networks` of selector 'X' must be a whole number of at least 1, got 0",
    NoNetworksInABatch: "`n_networks` of selector 'X' must be a whole number of at least 1, got 0",
    NoHistory: "`history_epochs` of selector 'X' must be a whole number of at least 1, got 0",
}


@pytest.mark.parametrize("malformed", DECLARED)
def test_a_malformed_declaration_is_refused_by_check_and_runner(malformed: type) -> None:
    (result,) = check_selector(malformed, only=["check_declarations"])
    assert result.status == "failed"
    assert DECLARED[malformed].replace("'X'", repr(malformed.__name__)) in result.message
    with pytest.raises(PluginError, match=re.escape(DECLARED[malformed])):
        check_pair(malformed(), CrossEntropy(), "X", "cross-entropy")


@dataclass(frozen=True)
class MisspelledExemption(Good):
    conformance_exempt = {"check_two_class": "it cannot"}  # noqa: RUF012


@dataclass(frozen=True)
class ExemptionWithoutReason(Good):
    conformance_exempt = {"check_keeps_clean_samples": " "}  # noqa: RUF012

    def select(self, data: Data) -> Selection:
        return Selection(keep=torch.ones(data.n_samples) > 0, score=self.score(data))


@dataclass(frozen=True)
class OneShort(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        return Selection(keep=answer.keep[1:], score=answer.score[1:])


@dataclass(frozen=True)
class GivesATuple(Good):
    def select(self, data: Data) -> Any:
        answer = super().select(data)
        return answer.keep, answer.score


@dataclass(frozen=True)
class WritesNanLater(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        answer.score[3] = torch.nan
        return answer


@dataclass(frozen=True)
class LabelsOutOfRange(Good):
    def select(self, data: Data) -> Selection:
        score = self.score(data)
        return Selection(keep=score > 0.5, score=score, labels=data.noisy_labels + 1)


@dataclass(frozen=True)
class OtherDevice(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        object.__setattr__(answer, "keep", answer.keep.to("meta"))
        return answer


@dataclass(frozen=True)
class RanksOnlyTheKept(Good):
    def select(self, data: Data) -> Selection:
        score = self.score(data)
        keep = score > 0.5
        return Selection(keep=keep, score=score.where(keep, 0))


@dataclass(frozen=True)
class TensorInDiagnostics(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        return Selection(answer.keep, answer.score, diagnostics={"n_kept": answer.keep.sum()})


@dataclass(frozen=True)
class NanInDiagnostics(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        return Selection(answer.keep, answer.score, diagnostics={"mean": float("nan")})


@dataclass(frozen=True)
class WritesIntoEmbeddings(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        data.embeddings().mul_(0.5)
        return answer


@dataclass(frozen=True)
class WritesIntoLosses(GoodOnline):
    def select(self, data: Data, dynamics: Dynamics) -> Selection:
        answer = super().select(data, dynamics)
        dynamics.losses.zero_()
        return answer


@dataclass(frozen=True)
class WritesIntoItsLooks(GoodOnline):
    """Looks at everything, twice, and writes into what `target` names."""

    target: str = ""
    peer: bool = False

    n_networks = 2
    observes = get_args(Observation)

    def select(self, data: Data, dynamics: Dynamics) -> Selection:
        seen = dynamics.peers[0] if self.peer and dynamics.peers else dynamics
        for name in LOOKS:
            value = getattr(seen, name)
            if name == self.target and dynamics.epoch == 2:
                value.fill_(1)
                getattr(seen, name)
        return super().select(data, dynamics)


@dataclass(frozen=True)
class NeverTheSame(Good):
    calls: ClassVar[Iterator[int]] = itertools.count()

    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        return Selection(answer.keep, answer.score.double() + 1e-9 * next(self.calls))


@dataclass(frozen=True)
class DrawsGlobally(Good):
    def select(self, data: Data) -> Selection:
        torch.rand(1)
        return super().select(data)


@dataclass(frozen=True)
class SeedsGlobally(Good):
    def select(self, data: Data) -> Selection:
        torch.manual_seed(data.seed)
        return super().select(data)


@dataclass(frozen=True)
class LeavesGradientsOff(Good):
    def select(self, data: Data) -> Selection:
        torch.set_grad_enabled(False)
        return super().select(data)


@dataclass(frozen=True)
class ReplacesAFunction(Good):
    def select(self, data: Data) -> Selection:
        original = torch.nn.functional.softmax
        torch.nn.functional.softmax = functools.partial(original)  # type: ignore[assignment]
        return super().select(data)


@dataclass(frozen=True)
class AsksForNoEncoder(Good):
    encoder: str = "bundled-clop"

    def select(self, data: Data) -> Selection:
        data.embeddings(self.encoder)
        return super().select(data)


FIRST_PROCESS = os.getpid()


@dataclass(frozen=True)
class NeedsTheFirstProcess(Good):
    def select(self, data: Data) -> Selection:
        if os.getpid() != FIRST_PROCESS or multiprocessing.parent_process() is not None:
            raise RuntimeError("not at home")
        return super().select(data)


@dataclass(frozen=True)
class IsAnotherInAWorker(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        if multiprocessing.parent_process() is not None:
            return Selection(~answer.keep, -answer.score)
        return answer


@dataclass(frozen=True)
class EndsAWorker(Good):
    def select(self, data: Data) -> Selection:
        if multiprocessing.parent_process() is not None:
            os._exit(7)
        return super().select(data)


@dataclass(frozen=True)
class HidesItsKnowledge(Good):
    knowledge = ("image-text pre-training",)  # type: ignore[assignment]


@dataclass(frozen=True)
class UndeclaredBound(GoodBound):
    conformance_exempt = {}  # noqa: RUF012


@dataclass(frozen=True)
class WalksTheFrames(Good):
    def select(self, data: Data) -> Selection:
        frame: Any = sys._getframe()
        while frame is not None:
            if "clean_labels" in frame.f_locals:
                right = frame.f_locals["clean_labels"] == data.noisy_labels
                return Selection(keep=right, score=right.float())
            frame = frame.f_back
        return super().select(data)


@dataclass(frozen=True)
class DropsByPosition(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        return Selection(answer.keep & (torch.arange(data.n_samples) % 10 > 0), answer.score)


@dataclass(frozen=True)
class ScoresByPosition(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        shift = torch.linspace(0, 0.3, data.n_samples)
        return Selection(answer.keep, answer.score + shift)


@dataclass(frozen=True)
class DropsClassZero(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        return Selection(answer.keep & (data.noisy_labels > 0), answer.score)


@dataclass(frozen=True)
class NeedsEveryClass(Good):
    def select(self, data: Data) -> Selection:
        score = self.score(data)
        for k in range(data.n_classes):
            score[data.noisy_labels == k].min()
        return super().select(data)


@dataclass(frozen=True)
class NeedsTwoPerClass(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        score = answer.score.clone()
        for k in data.noisy_labels.unique():
            own = data.noisy_labels == k
            others = score[own].sum() - score[own]
            score[own] += 0.001 * others / (own.sum() - 1)
        return Selection(answer.keep, score)


@dataclass(frozen=True)
class NeedsThreeClasses(Good):
    def select(self, data: Data) -> Selection:
        self.probabilities(data).topk(3)
        return super().select(data)


@dataclass(frozen=True)
class NeedsSomethingToFind(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        if 0.1 < answer.keep.float().mean() < 0.3:
            raise ValueError("no signal")
        return answer


@dataclass(frozen=True)
class StandardisesEmbeddings(Good):
    def select(self, data: Data) -> Selection:
        from_first = data.embeddings() - data.embeddings()[0]
        answer = super().select(data)
        return Selection(answer.keep, answer.score + 0 * from_first[:, 0] / from_first.norm())


@dataclass(frozen=True)
class MinMaxNormalises(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        low, high = answer.score.min(), answer.score.max()
        return Selection(answer.keep, (answer.score - low) / (high - low))


@dataclass(frozen=True)
class UpsideDown(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        return Selection(answer.keep, -answer.score)


@dataclass(frozen=True)
class KeepsTheNoise(Good):
    def select(self, data: Data) -> Selection:
        answer = super().select(data)
        return Selection(~answer.keep, answer.score)


@dataclass(frozen=True)
class KeepsNothing(Good):
    threshold: float = 2.0


LOOKS = (
    "features",
    "training_predictions",
    "prediction_history",
    "margin_history",
    "held_out_logits",
    "held_out_labels",
    "input_gradients",
)


def test_looks_that_are_not_written_into_are_untouched() -> None:
    """NaN in the margins of a peer, which trains on a half, counts as equal to itself."""
    results = check_selector(WritesIntoItsLooks, only=["check_inputs_untouched"])
    assert [r.message for r in results if r.status != "passed"] == []


@pytest.mark.parametrize("peer", [False, True])
@pytest.mark.parametrize("target", LOOKS)
def test_a_write_into_a_look_is_named(target: str, peer: bool) -> None:
    broken = with_defaults(WritesIntoItsLooks, target=target, peer=peer)
    (result,) = check_selector(broken, only=["check_inputs_untouched"])
    assert result.status == "failed"
    owner = "dynamics.peers[0]" if peer else "dynamics"
    assert f"wrote into {owner}.{target}, which" in result.message


def test_a_write_into_what_is_handed_out_twice_is_noticed() -> None:
    """The second look gives the tensor that was written into before."""
    shared = torch.zeros(3)
    losses = torch.ones(3)
    epoch = Dynamics(
        1, 1, losses, losses[:, None], losses[None], _observed={"features": lambda: shared}
    )
    written: set[str] = set()
    for watched in _watched(iter([epoch]), written):
        watched.features.add_(1)
        assert torch.equal(watched.features, torch.ones(3))
    assert written == {"dynamics.features"}


def with_defaults(selector_class: type, **values: Any) -> type:
    """Return a selector with other defaults."""
    own = {name: field(default=value) for name, value in values.items()}
    types = {name: type(value) for name, value in values.items()}
    made = type("Other", (selector_class,), {**own, "__annotations__": types})
    return dataclass(frozen=True)(made)


@pytest.mark.parametrize("good", [RoundsOfItsOwn, WritesIntoItsLooks])
def test_a_declaration_that_can_be_met_is_accepted(good: type) -> None:
    (result,) = check_selector(good, only=["check_declarations"])
    assert result.status == "passed", result.message
    check_pair(good(), CrossEntropy(), "X", "cross-entropy")


# (selector, the check that it fails, what the message says, what else must then fail)
BROKEN: list[tuple[type, str, str, set[str]]] = [
    (NotADataclass, "check_is_dataclass", r"dataclass\(frozen=True\)", set()),
    (NoKind, "check_is_dataclass", "must derive from one of", EVERYTHING),
    (FieldWithoutType, "check_fields_are_annotated", "`power: float = ...`", set()),
    (UnknownType, "check_fields_are_annotated", "NoSuchType", EVERYTHING),
    (NoDefault, "check_default_constructible", "'power' has none", EVERYTHING),
    (StillAbstract, "check_default_constructible", "must define select", EVERYTHING),
    (MuteRepr, "check_repr_round_trip", "raises SyntaxError", set()),
    (ComparesByIdentity, "check_repr_round_trip", "must give an equal selector", set()),
    (TakesUnknownNames, "check_unknown_hyper_parameter", "must be refused", set()),
    (TakesAnyType, "check_wrong_type", "'power' has a value of the wrong type", set()),
    (UnknownKnowledge, "check_knowledge_names", "Did you mean 'class names'", set()),
    (NoSuchTrainer, "check_declarations", "Did you mean 'cross-entropy'", set()),
    (MisspelledExemption, "check_exemptions", "Did you mean 'check_two_classes'", set()),
    (ExemptionWithoutReason, "check_exemptions", "must give a reason", set()),
    (OneShort, "check_answer", r"must have shape \(600,\).*got \(599,\)", ANSWERS),
    (GivesATuple, "check_answer", "must return an nlbench.Selection, got tuple", ANSWERS),
    (WritesNanLater, "check_answer", "finite for every sample, got 1 NaN", ANSWERS),
    (LabelsOutOfRange, "check_answer", r"must lie in \[0, 5\), got values from 1 to 5", ANSWERS),
    (OtherDevice, "check_device", r"must be on the data's device, \w+, got meta", ANSWERS),
    (RanksOnlyTheKept, "check_ranks_all_samples", "one value for all dropped", set()),
    (TensorInDiagnostics, "check_diagnostics_are_json", "Tensor is not JSON", set()),
    (NanInDiagnostics, "check_diagnostics_are_json", "Out of range float", set()),
    (WritesIntoEmbeddings, "check_inputs_untouched", r"wrote into data.embeddings\(\)", set()),
    (WritesIntoLosses, "check_inputs_untouched", "wrote into dynamics.losses", set()),
    (NeverTheSame, "check_same_seed_same_answer", "score must be bit-identical", set()),
    (DrawsGlobally, "check_global_random_state", "global random state of torch,", set()),
    (SeedsGlobally, "check_global_random_state", "global random state of torch,", set()),
    (LeavesGradientsOff, "check_surroundings", "changed torch's gradient mode", set()),
    (ReplacesAFunction, "check_surroundings", "changed torch.nn.functional.softmax", set()),
    (AsksForNoEncoder, "check_encoders_exist", "Did you mean 'bundled-clip'", set()),
    (NeedsTheFirstProcess, "check_worker_process", "RuntimeError there: not at home", set()),
    (IsAnotherInAWorker, "check_worker_process", "in a process of its own", set()),
    (EndsAWorker, "check_worker_process", "ended with exit code 7", set()),
    (HidesItsKnowledge, "check_declares_knowledge", "without 'class names'", set()),
    (UndeclaredBound, "check_cannot_reach_clean_labels", "got a BoundSelector", set()),
    (WalksTheFrames, "check_does_not_peek", "got 1.000", set()),
    (DropsByPosition, "check_permuted_samples", "keep must be the same", set()),
    (ScoresByPosition, "check_permuted_samples", "score must rank the samples alike", set()),
    (DropsClassZero, "check_relabelled_classes", "keep must be the same", set()),
    (NeedsEveryClass, "check_absent_class", r"at all\. Got RuntimeError", set()),
    (NeedsTwoPerClass, "check_one_sample_class", "Selection.score must be finite", set()),
    (NeedsThreeClasses, "check_two_classes", "Got RuntimeError", set()),
    (
        NeedsSomethingToFind,
        "check_random_labels",
        "Got ValueError: no signal",
        {"check_cannot_reach_clean_labels", "check_does_not_peek"},
    ),
    (
        StandardisesEmbeddings,
        "check_identical_embeddings",
        "Selection.score must be finite",
        {"check_constant_scores"},
    ),
    (MinMaxNormalises, "check_constant_scores", "Selection.score must be finite", set()),
    (UpsideDown, "check_planted_noise_is_found", "upside down", set()),
    (KeepsTheNoise, "check_keeps_clean_samples", "must be at least 70% clean", set()),
    (KeepsNothing, "check_keeps_clean_samples", "got 0 of 600 samples", set()),
]


@pytest.mark.parametrize(
    ("broken", "check", "says", "also"), BROKEN, ids=[f"{b[1]}-{b[0].__name__}" for b in BROKEN]
)
def test_broken_selector_fails_its_check(
    broken: type, check: str, says: str, also: set[str]
) -> None:
    results = {r.name: r for r in check_selector(broken)}
    assert results[check].status == "failed"
    assert re.search(says, results[check].message), results[check].message
    failed = {name for name, r in results.items() if r.status != "passed"}
    # Without an announced side effect, it fails because of this check and nothing else.
    exempt = set(getattr(broken, "conformance_exempt", {}))
    assert failed - also - exempt == {check} - also


def test_a_worker_forgets_the_plugin_files_of_earlier_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, sign in (("first", ""), ("second", "-")):
        file = tmp_path / folder / "same_name.py"
        file.parent.mkdir()
        file.write_text(
            "from dataclasses import dataclass\n"
            "from nlbench import Selection, Selector\n\n\n"
            "@dataclass(frozen=True)\n"
            "class SameName(Selector):\n"
            "    def select(self, data):\n"
            f"        score = {sign}data.embeddings()[:, 0]\n"
            "        return Selection(keep=score > 0, score=score)\n"
        )
        monkeypatch.setattr(registry, "_plugin_files", [])
        registry.add_plugin_file(file)
        same_name = registry.selector_class("same-name")
        (result,) = check_selector(same_name, only=["check_worker_process"])
        assert result.status == "passed", result.message


def test_every_check_is_shown_to_fail() -> None:
    elsewhere = {"check_resumed_in_mid_training"}  # test_resume_checks.py
    assert {check for _, check, _, _ in BROKEN} | elsewhere == EVERYTHING


# Exemptions.


@dataclass(frozen=True)
class Exempt(UpsideDown):
    conformance_exempt = {"check_planted_noise_is_found": "it is upside down"}  # noqa: RUF012


@dataclass(frozen=True)
class NeedlesslyExempt(Good):
    conformance_exempt = {"check_planted_noise_is_found": "feels safer"}  # noqa: RUF012


@dataclass(frozen=True)
class ExemptFromExemptions(Good):
    conformance_exempt = {"check_exemptions": "no need"}  # noqa: RUF012


@dataclass(frozen=True)
class ExemptionsAreAList(Good):
    conformance_exempt = ["check_two_classes"]  # type: ignore[assignment]  # noqa: RUF012


def test_exempt_check_that_fails_is_exempt_with_its_reason() -> None:
    (result,) = check_selector(Exempt, only=["check_planted_noise_is_found"])
    assert (result.status, result.message) == ("exempt", "it is upside down")


def test_exempt_check_that_passes_fails() -> None:
    (result,) = check_selector(NeedlesslyExempt, "needless", only=["check_planted_noise_is_found"])
    assert result.status == "failed"
    assert result.message == (
        "needless: check_planted_noise_is_found is exempt ('feels safer') but passes: remove the "
        "exemption."
    )


@pytest.mark.parametrize("broken", [ExemptFromExemptions, ExemptionsAreAList])
def test_exemptions_are_always_looked_at(broken: type) -> None:
    (result,) = check_selector(broken, only=["check_exemptions"])
    assert result.status == "failed"


# Running the checks.


@dataclass(frozen=True)
class Raises(Good):
    def select(self, data: Data) -> Selection:
        return Selection({}["missing"], data.embeddings()[:, 0])


def test_foreign_exception_names_type_and_line_of_the_plugin() -> None:
    (result,) = check_selector(Raises, only=["check_answer"])
    assert result.status == "failed"
    assert "Got KeyError: 'missing'" in result.message
    assert re.search(r"test_conformance\.py:\d+, `return Selection\(\{\}\[", result.message)


def test_a_failure_says_four_things() -> None:
    (result,) = check_selector(UpsideDown, only=["planted-noise-is-found"])
    assert result.tried.startswith("The score finds planted symmetric noise")
    assert "upside down" in result.message
    assert result.why
    scope: dict[str, Any] = {}
    lines = result.reproduce.replace("print(", "answer = (").splitlines()
    exec("\n".join(lines), scope)  # noqa: S102
    assert "upside down" in scope["answer"]
    assert [line.partition(":")[0] for line in result.report.splitlines()[:3]] == [
        "tried", "came out", "matters"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", CHECKS_BY_KIND)
def test_every_check_says_its_rule_and_why_it_matters(kind: Any) -> None:
    for check in CHECKS_BY_KIND[kind]:
        rule, why = rule_and_reason(check)
        assert rule.endswith("."), check.__name__
        assert why.endswith("."), check.__name__


def test_check_raises_conformance_failure_when_called() -> None:
    check = CHECKS[CHECK_NAMES.index("check_planted_noise_is_found")]
    with pytest.raises(ConformanceFailure, match="upside down"):
        check(UpsideDown)


def test_unknown_check_is_refused_with_near_match() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'check_answer'"):
        check_selector(Good, only=["check_answers"])


def test_results_keep_the_order_of_the_list() -> None:
    only = [CHECK_NAMES[5], CHECK_NAMES[1]]
    assert [r.name for r in check_selector(Good, only=only)] == sorted(only, key=CHECK_NAMES.index)


def test_thread_count_is_put_back() -> None:
    before = torch.get_num_threads()
    check_selector(Good, only=["check_answer"])
    assert torch.get_num_threads() == before


@dataclass(frozen=True)
class AsksForNoiseRate(Good):
    knowledge = (*Good.knowledge, "noise rate")

    def select(self, data: Data) -> Selection:
        assert data.noise_rate > 0
        return super().select(data)


@dataclass(frozen=True)
class HidesNoiseRate(AsksForNoiseRate):
    knowledge = Good.knowledge


@dataclass(frozen=True)
class EstimatesNoiseRate(Good):
    knowledge = (*Good.knowledge, "image pre-training", "estimated noise rate")

    def select(self, data: Data) -> Selection:
        assert 0 <= data.rate("estimated") < 1
        return super().select(data)


@dataclass(frozen=True)
class HidesItsEstimate(EstimatesNoiseRate):
    knowledge = (*Good.knowledge, "image pre-training")


def test_an_estimate_of_the_noise_rate_is_declared() -> None:
    only = ["check_knowledge_names", "check_declares_knowledge"]
    assert {r.status for r in check_selector(EstimatesNoiseRate, only=only)} == {"passed"}
    (result,) = check_selector(HidesItsEstimate, only=["check_declares_knowledge"])
    assert "without 'estimated noise rate'" in result.message


def test_noise_rate_is_given_to_those_who_declare_it() -> None:
    assert check_selector(AsksForNoiseRate, only=["check_answer"])[0].status == "passed"
    (result,) = check_selector(HidesNoiseRate, only=["check_answer"])
    assert "the noise rate is not given" in result.message
