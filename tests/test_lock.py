"""The lock: whoever changes a built-in component's numbers raises its version."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from golden import answer_files, selector_problems
from golden.answer_files import Stored, differences, load, plain, save, stored_names
from golden.entries import Entry, entries, orphan_message

import nlbench_selectors
from nlbench import scoring, training
from nlbench.data import digits
from nlbench.encoders import base
from nlbench.noise import kinds
from nlbench.plugins import registry
from nlbench.scoring import mixture
from nlbench.training import mixup, sgd

ENTRIES = entries()
LARGEST_KIB = 600


@pytest.mark.parametrize("name", ENTRIES)
def test_numbers_are_those_of_the_version(name: str) -> None:
    entry = ENTRIES[name]
    verdict = entry.verdict(entry.answer())
    assert not verdict, verdict


def test_no_answer_is_left_of_a_component_that_is_gone() -> None:
    gone = sorted(stored_names() - set(ENTRIES))
    assert not gone, "\n".join(map(orphan_message, gone))


def test_every_built_in_component_is_guarded() -> None:
    shipped = {
        f"{kind}/{name}": component
        for kind in registry.KINDS
        for name, component in registry.components(kind).items()
        if component.is_shipped
    }
    unguarded = sorted(set(shipped) - set(ENTRIES))
    assert not unguarded, (
        f"{unguarded} keep no version: name new selectors in `VERSIONED` of "
        f"{nlbench_selectors.__file__}"
    )
    assert {"toolbox/scoring", "toolbox/training"} == set(ENTRIES) - set(shipped)


def test_the_answers_stay_small() -> None:
    size = sum(path.stat().st_size for path in answer_files.FOLDER.rglob("*.json"))
    assert size < LARGEST_KIB * 1024


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("selectors/")])
def test_no_selection_hangs_on_the_last_bits(name: str) -> None:
    """Keep sets are compared exactly: they must be the same where features differ by rounding."""
    component = registry.find("selectors", name.partition("/")[2])
    for sign in (1, -1):
        moved = plain(selector_problems.answers(component, nudge=sign * 1e-6))
        stored = load(name)
        assert stored is not None
        assert not differences(stored.answer, moved, {}, 1e-2)


# What trips the lock, and what does not: source is edited in place, as an author would.


def edit(patch: pytest.MonkeyPatch, module: ModuleType, old: str, new: str) -> None:
    """Give a module's functions the code that they would have with an edited source."""
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{module.__name__} has {source.count(old)} times {old!r}"
    compiled = compile(source.replace(old, new), str(module.__file__), "exec")
    edited = dict(_codes(compiled))
    replaced = [f for f in _functions(module) if f.__code__ != edited[f.__qualname__]]
    assert replaced or inspect.cleandoc(old) in (module.__doc__ or ""), "the edit is in no function"
    for function in _functions(module):
        patch.setattr(function, "__code__", edited[function.__qualname__])


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield getattr(constant, "co_qualname", constant.co_name), constant
            yield from _codes(constant)


def _functions(module: ModuleType) -> list[FunctionType]:
    own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
    methods = [m for cls in own if isinstance(cls, type) for m in vars(cls).values()]
    # Under a property, a cache or torch's inference mode lies the function that was written.
    inside = [getattr(f, "fget", getattr(f, "func", f)) for f in (*own, *methods)]
    bare = [inspect.unwrap(f) for f in inside if callable(f)]
    return [
        f for f in bare if isinstance(f, FunctionType) and f.__code__.co_filename == module.__file__
    ]


EDITS: dict[str, tuple[ModuleType, str, str]] = {
    # A formula deep in the scoring toolbox reaches the selectors that stand on it.
    "selectors/clipcleaner": (mixture, "(0.5 / v)", "(0.4 / v)"),
    "selectors/small-loss": (mixture, "np.square(x - m)).sum()", "np.abs(x - m)).sum()"),
    "toolbox/scoring": (mixture, "(0.5 / v)", "(0.4 / v)"),
    # The same deep in the training toolbox.
    "trainers/mixup": (mixup, "max(share, 1 - share)", "share"),
    "trainers/mixfix": (mixup, "(1 - share) * other", "other"),
    "trainers/cross-entropy": (sgd, "0.5 * (1 + math.cos(", "0.4 * (1 + math.cos("),
    "toolbox/training": (mixup, "max(share, 1 - share)", "share"),
    "noises/symmetric": (kinds, "other + (other >= clean[flips])", "other"),
    "noises/pair": (kinds, "(np.arange(n_classes) + 1)", "(np.arange(n_classes) + 2)"),
    "datasets/digits": (digits, "(255 / 16)", "(254 / 16)"),
    "encoders/bundled-clip": (base, "div_(255)", "div_(256)"),
    "encoders/timm": (base, "div_(255)", "div_(256)"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_formula_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ENTRIES[name]
    assert not entry.verdict(_fresh(entry))
    edit(monkeypatch, *EDITS[name])
    verdict = entry.verdict(_fresh(entry))
    assert verdict.split("\n")[0] == (
        f"raise the version of {entry.subject} or restore its numbers"
    )
    assert "before" in verdict
    monkeypatch.undo()
    assert not entry.verdict(_fresh(entry))


def _fresh(entry: Entry) -> dict[str, Any]:
    digits._load.cache_clear()
    return entry.answer()


DOCSTRINGS: dict[str, tuple[ModuleType, str]] = {
    "selectors/clipcleaner": (mixture, "Two Gaussians on a line"),
    "trainers/mixup": (mixup, "Return the cross-entropy of mixed images"),
    "noises/symmetric": (kinds, "Exact share of every class to the other classes"),
    "datasets/digits": (digits, "Return the digits with a fixed"),
    "encoders/bundled-clip": (base, "Return unit-norm embeddings of uint8 images"),
    "toolbox/scoring": (mixture, "Two Gaussians on a line"),
}


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_an_edited_docstring_is_none_of_its_business(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, old = DOCSTRINGS[name]
    edit(monkeypatch, module, old, "Other words")
    entry = ENTRIES[name]
    assert not entry.verdict(_fresh(entry))


# Versions and answers together.


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """An entry whose answer is stored in a folder of its own."""
    monkeypatch.setattr(answer_files, "FOLDER", tmp_path)
    made = Entry("noises/pair", "noise 'pair'", {"noise": 2}, lambda: {"labels": [1]}, 1e-5, {})
    save(made.name, Stored({"noise": 2}, {"labels": [1], "score": [0.5, 2.0]}))
    return made


def test_the_stored_answer_and_rounding_pass(entry: Entry) -> None:
    assert not entry.verdict({"labels": [1], "score": [0.5, 2.0]})
    assert not entry.verdict({"labels": [1], "score": [0.50001, 2.00001]})


@pytest.mark.parametrize(
    "answer",
    [
        {"labels": [2], "score": [0.5, 2.0]},
        {"labels": [1], "score": [0.5001, 2.0]},
        {"labels": [1], "score": [0.5, 2.0, 2.0]},
        {"labels": [1]},
        {"labels": [1.0], "score": [0.5, 2.0]},
        {"labels": [1], "score": [0.5, "nan"]},
    ],
)
def test_anything_else_does_not(entry: Entry, answer: dict[str, Any]) -> None:
    verdict = entry.verdict(answer)
    assert verdict.startswith("raise the version of noise 'pair' or restore its numbers\n")
    assert not entry.may_be_renewed(answer)


def test_new_cases_need_no_new_version_but_a_command(entry: Entry) -> None:
    answer = {"labels": [1], "score": [0.5, 2.0], "rate=0.3": {"labels": [4]}}
    assert entry.verdict(answer) == (
        "noise 'pair' has new cases, such as a setting that was added: "
        "run `python tests/golden/update.py noises/pair`"
    )
    assert entry.may_be_renewed(answer)
    assert not entry.may_be_renewed({**answer, "labels": [2]})


def test_a_raised_version_asks_for_a_new_answer_by_its_command(entry: Entry) -> None:
    raised = Entry(entry.name, entry.subject, {"noise": 3}, entry.compute, 1e-5, {})
    assert raised.verdict({"labels": [2]}) == (
        "a version of noise 'pair' was raised from {'noise': 2} to {'noise': 3}: renew its golden "
        "answer with `python tests/golden/update.py noises/pair`"
    )
    assert raised.may_be_renewed({"labels": [2]})


def test_a_lowered_version_is_refused(entry: Entry) -> None:
    lowered = Entry(entry.name, entry.subject, {"noise": 1}, entry.compute, 1e-5, {})
    assert "was lowered" in lowered.verdict({"labels": [1]})
    assert not lowered.may_be_renewed({"labels": [1]})


def test_a_component_without_an_answer_is_told_the_command(entry: Entry) -> None:
    new = Entry("noises/new", "noise 'new'", {"noise": 1}, entry.compute, 1e-5, {})
    assert new.verdict({}) == (
        "no golden answer for noise 'new': run `python tests/golden/update.py noises/new`"
    )
    assert orphan_message("noises/old").startswith("golden answer for noises/old, which is no")


def test_what_answers_are_made_with_is_read_from_the_components() -> None:
    assert ENTRIES["selectors/clipcleaner"].versions["scoring"] == scoring.VERSION
    assert "scoring" not in ENTRIES["selectors/none"].versions
    assert ENTRIES["trainers/mixup"].versions["training"] == training.VERSION
