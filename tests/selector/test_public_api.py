"""What a user can do with `import nlbench` alone, and what they are told when it is wrong."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch

import nlbench
from nlbench import ConfigError, PluginError, Selection, TrainingData, get_selector
from nlbench.selector import checked_answer

HEAVY = ("torch", "mlflow", "sklearn", "timm", "open_clip", "numpy")


def modules_after(code: str) -> set[str]:
    """Run code in a fresh interpreter and give the top-level packages it imported."""
    script = f"import sys\n{code}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_is_light() -> None:
    assert modules_after("import nlbench").isdisjoint(HEAVY)


def test_listing_what_there_is_imports_no_torch() -> None:
    code = (
        "from nlbench.plugins.registry import KINDS, components\n"
        "for kind in KINDS: assert components(kind), kind"
    )
    assert "torch" not in modules_after(code)


def test_a_name_is_loaded_on_first_use() -> None:
    assert "torch" in modules_after("import nlbench; nlbench.Selection")
    assert "torch" not in modules_after("import nlbench; nlbench.ConfigError")


@pytest.mark.parametrize("name", nlbench.__all__)
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(nlbench, name)
    if name == "NoiseRate":  # a type for fields, of a number, a word or nothing
        assert type(None) in get_args(value)
        return
    if name == "PLUGIN_API":
        assert isinstance(value, int)
        return
    if name in ("Knowledge", "Observation", "PromptSet"):  # types of literals have neither name nor docstring
        assert all(isinstance(choice, str) for choice in get_args(value))
        return
    assert value.__name__ == name
    assert value.__doc__


def test_public_names_are_what_dir_and_star_give() -> None:
    assert set(nlbench.__all__) <= set(dir(nlbench))
    namespace: dict[str, Any] = {}
    exec("from nlbench import *", namespace)  # noqa: S102
    assert set(nlbench.__all__) <= namespace.keys()


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'nlbench' has no attribute 'clipcleaner'"):
        _ = nlbench.clipcleaner


# get_selector ---------------------------------------------------------------------------------


def test_get_selector_gives_the_class_with_its_values() -> None:
    selector = get_selector("random", keep_fraction=0.25)
    assert isinstance(selector, nlbench.Selector)
    assert repr(selector) == "Random(keep_fraction=0.25)"
    assert isinstance(get_selector("small-loss"), nlbench.OnlineSelector)
    assert isinstance(get_selector("oracle"), nlbench.BoundSelector)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("clip-kn", {}, r"unknown selector 'clip-kn'. Did you mean 'clip-knn'"),
        ("clipcleanr", {}, "Did you mean 'clipcleaner'"),
        ("clip_knn", {}, "Did you mean 'clip-knn'"),
        ("random", {"keep_fracton": 0.5}, "'keep_fracton'. Did you mean 'keep_fraction'"),
        ("random", {"keep_fraction": 0}, "'random': hyper-parameter 'keep_fraction'.*got 0"),
        ("random", {"keep_fraction": "half"}, "'keep_fraction'.*got 'half'"),
        ("none", {"k": 3}, "'none' has no hyper-parameter 'k'. There are none"),
    ],
)
def test_get_selector_says_what_is_wrong(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_selector(name, **settings)


# TrainingData.from_arrays ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"n_classes": 1, "noisy_labels": [0, 0, 0]},
            "`n_classes` must be a whole number >= 2, got 1",
        ),
        ({"noisy_labels": [0, 1, 2]}, r"`noisy_labels` must lie in \[0, 2\)"),
        ({"noisy_labels": [-1, 1, 0]}, r"`noisy_labels` must lie in \[0, 2\)"),
        ({"noisy_labels": [[0, 1, 1]]}, "`noisy_labels` must be 1-D"),
        ({"noisy_labels": []}, "not empty"),
        ({"noisy_labels": [0.7, 1.2, 0.0]}, "`noisy_labels` must be whole numbers"),
        ({"noisy_labels": [True, False, True]}, "`noisy_labels` must be whole numbers, got bool"),
        ({"class_names": ["cat"]}, "`class_names` must name all 2 classes, got 1"),
        ({"embeddings": np.ones((2, 4))}, "a row for each of the 3 labels, got 2"),
        ({"embeddings": np.ones(3)}, "2-D"),
        ({"embeddings": np.full((3, 4), np.nan)}, "finite"),
        ({"embeddings": np.full((3, 4), np.inf)}, "finite"),
        ({"text_embeddings": [np.ones((1, 4))]}, "each of the 2 classes, got 1"),
        ({"text_embeddings": [np.ones(4), np.ones(4)]}, "2-D"),
        ({"sample_ids": [0, 1]}, "`sample_ids` must have 3 entries, got 2"),
        ({"images": np.zeros((2, 3, 4, 4), np.uint8)}, "`images` must have 3 entries, got 2"),
        (
            {"embeddings": np.ones((3, 4)), "text_embeddings": [np.ones((1, 5))] * 2},
            "text_embeddings",
        ),
        ({"text_embeddings": [np.ones((1, 4)), np.ones((0, 4))]}, "text_embeddings"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingData.from_arrays(**{"noisy_labels": [0, 1, 1], "n_classes": 2, **arguments})


def test_what_was_not_given_is_asked_for_by_name() -> None:
    data = TrainingData.from_arrays([0, 1, 1], 2)
    with pytest.raises(ConfigError, match="pass `embeddings=` to `from_arrays`"):
        data.embeddings()
    with pytest.raises(ConfigError, match="pass `text_embeddings=` to `from_arrays`"):
        data.text_embeddings()
    with pytest.raises(PluginError, match="pass `images=` to `from_arrays`"):
        data.images(torch.tensor([0]))
    with pytest.raises(PluginError, match="noise rate is not given"):
        _ = data.noise_rate


def test_arrays_come_back_with_unit_norm_and_the_right_types() -> None:
    data = TrainingData.from_arrays(
        np.array([0, 1, 1], dtype=np.uint8),
        2,
        class_names=["cat", "dog"],
        embeddings=[[3.0, 4.0], [0.0, 2.0], [5.0, 0.0]],
        text_embeddings=[[[10.0, 0.0]], [[0.0, 0.5], [2.0, 0.0]]],
        images=np.arange(3 * 3 * 2 * 2, dtype=np.uint8).reshape(3, 3, 2, 2),
        noise_rate=0.3,
    )
    assert data.noisy_labels.dtype == torch.int64
    torch.testing.assert_close(data.embeddings()[0], torch.tensor([0.6, 0.8]))
    assert [t.tolist() for t in data.text_embeddings()] == [[[1, 0]], [[0, 1], [1, 0]]]
    assert data.images(torch.tensor([2]))[0, 0, 0, 0] == 24
    assert (data.n_samples, data.class_names, data.noise_rate) == (3, ("cat", "dog"), 0.3)


def test_random_numbers_follow_seed_stream_and_sample() -> None:
    ids = torch.tensor([10, 20, 30, 40])
    order = torch.tensor([2, 0, 3, 1])

    def data(seed: int, sample_ids: torch.Tensor) -> TrainingData:
        return TrainingData.from_arrays([0, 1, 1, 0], 2, seed=seed, sample_ids=sample_ids)

    first = data(0, ids).uniform("a")
    assert torch.equal(data(0, ids[order]).uniform("a"), first[order])
    assert not torch.equal(data(1, ids).uniform("a"), first)
    assert not torch.equal(data(0, ids).uniform("b"), first)
    draws = [torch.rand(3, generator=data(s, ids).generator("a")).tolist() for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_uniform_numbers_are_uniform() -> None:
    values = TrainingData.from_arrays([0, 1] * 5000, 2).uniform("x")
    counts = torch.histc(values, bins=10, min=0, max=1)
    # 1000 in each of ten bins, SD 30.
    assert (counts - 1000).abs().max() < 5 * 30


# Selection ------------------------------------------------------------------------------------

KEEP = torch.tensor([True, False, True])
SCORE = torch.tensor([0.9, 0.1, 0.5])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": torch.tensor([0.9, float("nan"), 0.5])}, "score must be finite"),
        ({"score": torch.tensor([0.9, -torch.inf, 0.5])}, "score must be finite"),
        ({"score": torch.tensor([1, 2, 3])}, "score must be of dtype float"),
        ({"score": torch.ones(2)}, r"score must have keep's shape \(3,\)"),
        ({"score": torch.ones(3, 1)}, "score must be a 1-D tensor"),
        ({"score": np.ones(3)}, "score must be a 1-D tensor, got ndarray"),
        ({"keep": torch.tensor([1, 0, 1])}, "keep must be of dtype bool"),
        ({"keep": [True, False, True]}, "keep must be a 1-D tensor, got list"),
        ({"labels": torch.tensor([0.0, 1.0, 1.0])}, "labels must be of dtype int64"),
        ({"labels": torch.tensor([0, 1])}, "labels must have keep's shape"),
        ({"weights": torch.tensor([1.0, -1.0, 1.0])}, "weights must be >= 0"),
        ({"weights": torch.tensor([1.0, torch.nan, 1.0])}, "weights must be finite"),
        ({"weights": torch.tensor([1, 1, 1])}, "weights must be of dtype float"),
    ],
)
def test_selection_is_checked_when_it_is_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Selection(**{"keep": KEEP, "score": SCORE, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": KEEP[:2], "score": SCORE[:2]}, r"shape \(3,\).*got \(2,\)"),
        ({"keep": torch.zeros(3, dtype=torch.bool)}, "kept no sample"),
        ({"labels": torch.tensor([0, 1, 2])}, r"labels must lie in \[0, 2\), got 0 to 2"),
        ({"weights": torch.tensor([0.0, 1.0, 0.0])}, "> 0 for at least one kept"),
    ],
)
def test_selection_must_answer_the_data(changes: dict[str, Any], message: str) -> None:
    data = TrainingData.from_arrays([0, 1, 1], 2)
    checked_answer(Selection(KEEP, SCORE), data)
    with pytest.raises(PluginError, match=message):
        checked_answer(Selection(**{"keep": KEEP, "score": SCORE, **changes}), data)


# The way through a notebook -------------------------------------------------------------------


def test_corrupt_select_evaluate_with_public_names_only() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.arange(4).repeat_interleave(50)
    features = torch.eye(4, 8)[clean] + 0.2 * torch.randn(200, 8, generator=generator)
    noisy = nlbench.corrupt(clean, n_classes=4, kind="symmetric", rate=0.2, seed=0)
    data = nlbench.TrainingData.from_arrays(noisy.labels, n_classes=4, embeddings=features)
    selector: Any = nlbench.get_selector("clip-knn")
    found = nlbench.evaluate_selection(selector.select(data), noisy.labels, clean)
    assert found["noise_rate_before"] == pytest.approx(0.2)
    assert found["noise_rate_after"] < 0.05
    assert found["auroc"] > 0.95


def test_own_selector_needs_public_names_only() -> None:
    class Short(nlbench.Selector):
        def select(self, data: TrainingData) -> Selection:
            keep = data.noisy_labels == 0
            return Selection(keep=keep, score=keep.float())

    answer = Short().select(TrainingData.from_arrays([0, 1, 0], 2))
    assert nlbench.evaluate_selection(answer, [0, 1, 0], [0, 0, 0])["precision"] == 1.0
    with pytest.raises(TypeError, match="abstract"):
        nlbench.Selector()  # type: ignore[abstract]


def test_errors_carry_their_exit_codes_and_one_base() -> None:
    codes = {
        e: e.exit_code for e in (ConfigError, PluginError, nlbench.DataError, nlbench.RunError)
    }
    assert codes == {ConfigError: 2, PluginError: 4, nlbench.DataError: 3, nlbench.RunError: 1}
    assert all(issubclass(error, nlbench.NlbenchError) for error in codes)
    assert issubclass(ConfigError, ValueError)


# What people have in their hands

NAMES = ("cat", "dog", "owl")
NUMBERS = [0, 2, 1, 2, 0, 1]
WORDS = [NAMES[i] for i in NUMBERS]


@pytest.mark.parametrize(
    "labels",
    [
        NUMBERS,
        tuple(NUMBERS),
        np.array(NUMBERS, dtype=np.uint8),
        np.array(NUMBERS, dtype=object),
        torch.tensor(NUMBERS),
        torch.tensor(NUMBERS, dtype=torch.float64),
        pd.Series(NUMBERS, index=range(10, 16)),
        pd.Series(NUMBERS, dtype="Int64"),
        WORDS,
        np.array(WORDS),
        np.array(WORDS, dtype=object),
        pd.Series(WORDS),
        pd.Series(WORDS, dtype="string"),
        pd.Categorical(WORDS, categories=["owl", "dog", "cat"]),
        nlbench.corrupt(NUMBERS, n_classes=3, kind="none"),
    ],
    ids=lambda labels: f"{type(labels).__name__}-{getattr(labels, 'dtype', '')}",
)
def test_labels_are_taken_as_people_have_them(labels: Any) -> None:
    data = nlbench.TrainingData.from_arrays(labels, n_classes=3, class_names=NAMES)
    assert data.noisy_labels.tolist() == NUMBERS
    answer = nlbench.Selection(keep=torch.ones(6, dtype=torch.bool), score=torch.arange(6.0))
    measured = nlbench.evaluate_selection(answer, labels, torch.tensor(NUMBERS), NAMES)
    assert measured["precision"] == 1.0


@pytest.mark.parametrize(
    ("labels", "class_names", "message"),
    [
        (WORDS, None, "pass `class_names="),
        (["cat", "dgo"], NAMES, "Did you mean 'dog'"),
        ([0, None], NAMES, "without a label"),
        (pd.Series([0, pd.NA], dtype="Int64"), NAMES, "without a label"),
        (np.array([0.0, np.nan]), NAMES, "fractions or NaN"),
        (pd.DataFrame({"label": [0, 1]}), NAMES, "1-D"),
        ([True, False], NAMES, "whole numbers"),
        ([], NAMES, "not empty"),
    ],
)
def test_labels_that_are_none_are_refused_with_what_helps(
    labels: Any, class_names: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        nlbench.TrainingData.from_arrays(labels, n_classes=3, class_names=class_names)
    answer = nlbench.Selection(keep=torch.ones(2, dtype=torch.bool), score=torch.zeros(2))
    with pytest.raises(ConfigError, match=message):
        nlbench.evaluate_selection(answer, labels, labels, class_names)


@pytest.mark.parametrize("as_people_have_it", [pd.DataFrame, np.asarray, torch.tensor, list])
def test_embeddings_and_keys_are_taken_as_people_have_them(as_people_have_it: Any) -> None:
    rows = [[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]]
    data = nlbench.TrainingData.from_arrays(
        [0, 1, 1],
        n_classes=2,
        embeddings=as_people_have_it(rows),
        text_embeddings=[as_people_have_it(rows), as_people_have_it(rows[:1])],
        sample_ids=pd.Series([7, 8, 9]),
    )
    torch.testing.assert_close(data.embeddings()[0], torch.tensor([0.6, 0.8]))
    assert [len(texts) for texts in data.text_embeddings()] == [3, 1]
    assert data.sample_ids.tolist() == [7, 8, 9]
    with pytest.raises(ConfigError, match="`embeddings` must be numbers"):
        nlbench.TrainingData.from_arrays([0, 1], 2, embeddings=pd.DataFrame({"a": ["x", "y"]}))
