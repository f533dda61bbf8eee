"""One run from start to record: what it measures, what it hides, and how it fails."""

from __future__ import annotations

import json
import logging
import math
import platform
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from board_records import only
from conftest import Install
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from typer.testing import CliRunner

import nlbench
from nlbench import RunRecord
from nlbench.cli import app
from nlbench.config.command import reproduce_command
from nlbench.config.resolve import resolve
from nlbench.config.run_config import RunConfig
from nlbench.data.digits import Digits
from nlbench.errors import ConfigError, DivergedError, NlbenchError, PluginError, RunError
from nlbench.plugins import registry
from nlbench.results.store import RunStore
from nlbench.runner import run as runner
from nlbench.runner.inputs import prepare
from nlbench.runner.recording import Attempt, running_record
from nlbench.runner.workplace import Workplace
from nlbench.tracking.schema import tags_of
from nlbench.tracking.store import SYNC_HINT
from nlbench.training import cross_entropy

EPOCHS = 2
SELECTORS = (
    "none",
    "random:keep_fraction=0.02",
    "small-loss",
    "co-teaching",
    "dividemix",
    "clipcleaner",
    "imagenet-baseline",
    "oracle",
)
CONTRACT = {
    "": "schema fingerprint status seed curves times environment command",
    "selector": "name params knowledge",
    "dataset": "name fingerprint n_train n_test n_classes",
    "noise": "kind nominal_rate realized_rate sha256",
    "protocol": "id sha256 version settings",
    "metrics.selection": (
        "precision recall f1 auroc auprc kept_fraction noise_rate_after worst_class_recall"
    ),
    "metrics.test": "accuracy_last accuracy_noisy_val accuracy_best_oracle",
    "times": "data_s embed_s select_s train_s total_s peak_memory_mb",
    "environment": "python system device packages",
}

SELECTOR = '''"""For a test."""
from __future__ import annotations
import math, sys
from dataclasses import dataclass
from pathlib import Path
import torch
from nlbench import OnlineSelector, PluginError, Selection, Selector

HERE = Path(__file__).parent


def called():
    with (HERE / 'calls').open('a') as file:
        file.write('x')


def keeping_all(data, **more):
    keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
    return Selection(keep=keep, score=keep.double(), **more)


@dataclass(frozen=True)
class Plugin(Selector):
    """A selector."""

    CLASS_LINES

    def select(self, data):
        BODY
'''

# What a walk over references can find: clean labels as arrays, files' names as text.
REACH = '''"""Looks for the truth in what it is given."""
from __future__ import annotations
import gc, types
from dataclasses import dataclass
import torch
from nlbench import OnlineSelector, Selection, Selector
from nlbench.conformance import path_to_labels
from nlbench.encoders import features
from nlbench.data.digits import Digits


def texts(root):
    seen, queue, found = {id(root): root}, [root], []
    while queue:
        for child in gc.get_referents(queue.pop()):
            if isinstance(child, str):
                found.append(child)
            elif id(child) not in seen and not isinstance(
                child, (type, types.ModuleType, types.FunctionType)
            ):
                seen[id(child)] = child
                queue.append(child)
    return found


@dataclass(frozen=True)
class Reach(BASE):
    """Puts what it finds into its diagnostics."""

    leak: bool = False

    def select(self, data, *dynamics):
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        found = {}
        if data.n_classes == 10:
            data.embeddings("image"), data.text_embeddings(), data.images(torch.arange(3))
            rows = features._banks[data._features.number].rows
            truth = torch.from_numpy(Digits().load(None).train_labels)[rows]
            root = [data, *dynamics, truth if self.leak else None]
            found["path"] = path_to_labels(root, truth, data.noisy_labels)
            found["n_wrong"] = int((truth != data.noisy_labels).sum())
        else:
            found["texts"] = texts([data, "pets/ada/0.png" if self.leak else None])
            found["ids"] = [str(v) for v in data.sample_ids.tolist()]
        return Selection(keep=keep, score=keep.double(), diagnostics=found)
'''


@dataclass(frozen=True)
class Cell:
    """Every selector of `SELECTORS` on the same noisy digits."""

    home: Path
    records: dict[str, RunRecord]

    def file(self, name: str) -> dict[str, Any]:
        path = RunStore(self.home).folder(self.records[name].fingerprint) / "record.json"
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    def chosen(self, name: str) -> dict[str, np.ndarray]:
        return selection_of(self.home, self.records[name])


def selection_of(home: Path, record: RunRecord) -> dict[str, np.ndarray]:
    table = pq.read_table(RunStore(home).folder(record.fingerprint) / "selection.parquet")
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def quick(selector: str, **options: Any) -> RunRecord:
    given = {"recipe": "quick/digits", "epochs": EPOCHS, "track": False, "device": "cpu", **options}
    return nlbench.run(selector, **given)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    home = tmp_path_factory.mktemp("cell")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLBENCH_HOME", str(home))
        patch.setenv("NLBENCH_CACHE", str(home / "cache"))
        return Cell(home, {name: quick(name) for name in SELECTORS})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Path]:
    def write(body: str, name: str = "plugged", class_lines: str = "") -> Path:
        path = tmp_path / "plugins" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        text = SELECTOR.replace("CLASS_LINES", class_lines)
        path.write_text(text.replace("BODY", body.replace("\n", "\n        ")))
        return path

    return write


def failed_record(home: Path) -> RunRecord:
    (record,), problems = RunStore(home).records()
    assert not problems
    assert record.status == "failed"
    assert record.metrics is None
    assert record.error is not None
    return record


# The record


@pytest.mark.parametrize("part", CONTRACT)
def test_the_record_holds_every_field_of_the_contract(cell: Cell, part: str) -> None:
    for name in SELECTORS:
        content = cell.file(name)
        for key in filter(None, part.split(".")):
            content = content[key]
        assert set(CONTRACT[part].split()) <= set(content), name


def test_the_record_says_what_was_run(cell: Cell) -> None:
    content = cell.file("clipcleaner")
    assert content["schema"] == 1
    assert content["status"] == "finished"
    assert content["fingerprint"] == cell.records["clipcleaner"].fingerprint
    assert content["selector"]["knowledge"] == ["class names", "image-text pre-training"]
    assert content["dataset"]["name"] == "digits"
    assert [content["dataset"][k] for k in ("n_train", "n_test", "n_classes")] == [1437, 360, 10]
    assert content["noise"]["kind"] == "symmetric"
    assert content["noise"]["nominal_rate"] == 0.4
    assert content["noise"]["realized_rate"] == pytest.approx(0.4, abs=0.001)
    assert content["seed"] == 0
    assert content["protocol"]["settings"]["training"]["epochs"] == EPOCHS
    assert content["environment"]["packages"]["torch"] == torch.__version__.split("+")[0]
    assert {len(curve) for curve in content["curves"].values()} == {EPOCHS}
    assert content["error"] is None
    assert content["finished_at"] > content["started_at"] > "2020"


def test_the_record_does_not_name_the_user(cell: Cell) -> None:
    content = cell.file("clipcleaner")
    assert content["environment"].pop("machine") == platform.node()  # which stays at home
    text = json.dumps(content)
    assert str(Path.home()) not in text
    assert str(cell.home) not in text
    assert f'"{platform.node()}"' not in text


def test_shares_lie_between_0_and_1(cell: Cell) -> None:
    def numbers(value: Any) -> Iterator[float]:
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from numbers(inner)
        elif value is not None:
            yield value

    for name in SELECTORS:
        content = cell.file(name)
        metrics = content["metrics"]
        del metrics["test"]["epoch_noisy_val"], metrics["test"]["epoch_best_oracle"]
        curves = {k: v for k, v in content["curves"].items() if k != "train_loss"}
        shares = list(numbers([metrics, curves, content["noise"]["realized_rate"]]))
        assert len(shares) > 25
        assert all(0 <= share <= 1 for share in shares), name


def test_the_file_reads_back_as_the_record_that_run_gave(cell: Cell) -> None:
    for record in cell.records.values():
        assert RunStore(cell.home).read(record.fingerprint) == record
        assert RunRecord.from_json(record.to_json()) == record


def test_times_and_memory_are_measured(cell: Cell) -> None:
    for name, record in cell.records.items():
        times = record.times
        assert min(times.data_s, times.select_s, times.train_s, times.peak_memory_mb) > 0, name
        assert times.total_s >= times.data_s + times.embed_s + times.train_s
        assert (times.embed_s > 0) == (name in ("clipcleaner", "imagenet-baseline"))


def test_the_last_epoch_is_the_headline_and_the_best_is_not_worse(cell: Cell) -> None:
    for record in cell.records.values():
        assert record.metrics is not None
        test, curve = record.metrics.test, record.curves["test_accuracy"]
        assert test.accuracy_last == curve[-1]
        assert test.accuracy_best_oracle == max(a for a in curve if a is not None)
        assert test.epoch_noisy_val is not None
        assert test.accuracy_noisy_val == curve[test.epoch_noisy_val - 1]


@pytest.mark.parametrize("name", SELECTORS)
def test_the_selection_file_agrees_with_the_metrics(cell: Cell, name: str) -> None:
    chosen, metrics = cell.chosen(name), cell.records[name].metrics
    assert list(chosen) == ["index", "id", "noisy_label", "clean_label", "score", "keep"]
    assert len(chosen["keep"]) == 1437 - 144
    is_clean, keep = chosen["noisy_label"] == chosen["clean_label"], chosen["keep"]
    assert metrics is not None
    found = metrics.selection
    assert found.precision == pytest.approx((is_clean & keep).sum() / keep.sum())
    assert found.recall == pytest.approx((is_clean & keep).sum() / is_clean.sum())
    assert found.kept_fraction == pytest.approx(keep.mean())
    assert found.noise_rate_after == pytest.approx(1 - found.precision)
    assert found.noise_rate_before == pytest.approx(1 - is_clean.mean())
    assert found.auroc == pytest.approx(roc_auc_score(is_clean, chosen["score"]), abs=1e-6)
    assert found.auprc == pytest.approx(
        average_precision_score(is_clean, chosen["score"]), abs=1e-6
    )
    truth = Digits().load(None)
    assert (chosen["clean_label"] == truth.train_labels[chosen["index"]]).all()
    assert list(chosen["id"]) == [truth.train_ids[i] for i in chosen["index"]]


def test_without_noise_there_is_no_ranking_to_measure(home: Path) -> None:
    record = quick("random", noise="none", home=home)
    assert record.metrics is not None
    assert record.metrics.selection.auroc is None
    assert record.metrics.selection.auprc is None
    assert record.metrics.selection.precision == 1
    assert record.noise.nominal_rate == record.noise.realized_rate == 0


# Fairness


def test_every_selector_of_a_cell_gets_the_same_noisy_labels(cell: Cell) -> None:
    clean = Digits().load(None).train_labels
    expected = nlbench.corrupt(clean, n_classes=10, kind="symmetric", rate=0.4, seed=0)
    assert {r.noise.sha256 for r in cell.records.values()} == {expected.sha256}
    first = cell.chosen("none")
    assert (first["noisy_label"] == expected.labels[first["index"]]).all()
    for name in SELECTORS:
        assert (cell.chosen(name)["noisy_label"] == first["noisy_label"]).all()
        assert (cell.chosen(name)["index"] == first["index"]).all()


def test_another_seed_has_other_noisy_labels(cell: Cell, home: Path) -> None:
    other = quick("none", seed=1, home=home)
    assert other.noise.sha256 != cell.records["none"].noise.sha256
    clean = Digits().load(None).train_labels
    noisy = nlbench.corrupt(clean, n_classes=10, kind="symmetric", rate=0.4, seed=1)
    assert other.noise.sha256 == noisy.sha256


def test_every_selector_gets_the_same_number_of_steps(cell: Cell) -> None:
    steps = {name: r.diagnostics["n_steps"] for name, r in cell.records.items()}
    assert set(steps.values()) == {EPOCHS * (1293 // 64)}
    kept = cell.records["random:keep_fraction=0.02"].metrics
    assert kept is not None
    assert kept.selection.kept_fraction < 0.03


@pytest.mark.parametrize("name", ["none", "random:keep_fraction=0.02", "small-loss"])
def test_the_same_seed_gives_the_same_bits_again(cell: Cell, home: Path, name: str) -> None:
    assert_same_result(cell, home, name, quick(name, home=home))


@pytest.mark.parametrize("name", ["clipcleaner", "imagenet-baseline"])
def test_the_embedding_cache_changes_no_bit(
    cell: Cell, home: Path, tmp_path: Path, name: str
) -> None:
    assert_same_result(cell, home, name, quick(name, home=home))
    cache = tmp_path / "cache"
    entries = list(cache.rglob("*.safetensors"))
    assert entries
    changed = {path: path.stat().st_mtime_ns for path in entries}
    assert_same_result(cell, home, name, quick(name, home=home, force=True))
    assert {path: path.stat().st_mtime_ns for path in entries} == changed
    shutil.rmtree(cache)
    assert_same_result(cell, home, name, quick(name, home=home, force=True))


def assert_same_result(cell: Cell, home: Path, name: str, again: RunRecord) -> None:
    first = cell.records[name]
    assert again.fingerprint == first.fingerprint
    assert again.started_at != first.started_at
    assert again.metrics == first.metrics
    assert again.curves == first.curves
    one, two = cell.chosen(name), selection_of(home, again)
    assert np.array_equal(one["keep"], two["keep"])
    assert np.array_equal(one["score"], two["score"])


def test_the_oracle_gets_the_truth_and_is_shown_as_a_bound(cell: Cell) -> None:
    record, chosen = cell.records["oracle"], cell.chosen("oracle")
    assert (chosen["keep"] == (chosen["noisy_label"] == chosen["clean_label"])).all()
    assert record.selector.is_bound
    assert record.selector.knowledge == ["clean labels"]
    assert not any(r.selector.is_bound for n, r in cell.records.items() if n != "oracle")


@pytest.mark.parametrize("base", ["Selector", "OnlineSelector"])
def test_the_clean_labels_cannot_be_reached_from_a_running_selector(
    tmp_path: Path, home: Path, base: str
) -> None:
    path = tmp_path / "reach.py"
    path.write_text(REACH.replace("BASE", base))
    found = quick("reach", plugins=[path], home=home, epochs=1).diagnostics
    assert found["n_wrong"] > 400
    assert found["path"] is None
    leaky = quick("reach:leak=true", home=home, epochs=1).diagnostics
    assert leaky["path"] is not None  # the search would have found them


def test_file_names_cannot_be_reached_from_a_running_selector(
    tmp_path: Path, home: Path, pets: Path
) -> None:
    path = tmp_path / "reach.py"
    path.write_text(REACH.replace("BASE", "Selector"))
    found, leaky = (
        on_pets(pets, name, plugins=[path], home=home).diagnostics
        for name in ("reach", "reach:leak=true")
    )
    names = [p.relative_to(pets).as_posix() for p in sorted(pets.rglob("*.png"))]
    assert "pets/ada/0.png" in leaky["texts"]  # the search would have found them
    assert not [text for text in found["ids"] if any(name in text for name in names)]
    told = [text for text in found["texts"] if any(name in text for name in names)]
    assert not told, f"{len(told)} file names, which name the clean class, such as {told[0]}"


def test_the_noise_rate_is_given_only_where_it_is_declared(
    plugin: Callable[..., Path], home: Path
) -> None:
    body = "return keeping_all(data, diagnostics={'told': data.noise_rate})"
    with pytest.raises(PluginError, match="knowledge = \\('noise rate',\\)"):
        quick("plugged", plugins=[plugin(body)], home=home)
    assert failed_record(home).selector.knowledge == []
    honest = plugin(body, name="honest", class_lines="knowledge = ('noise rate',)")
    record = quick("honest", plugins=[honest], noise_rate=0.3, home=home)
    assert record.diagnostics["told"] == 0.3
    assert record.selector.knowledge == ["noise rate"]


# What is done before is not done again


def test_a_finished_run_is_not_repeated_unless_forced(
    plugin: Callable[..., Path], home: Path
) -> None:
    path = plugin("called()\nreturn keeping_all(data)")
    calls = path.parent / "calls"
    first = quick("plugged", plugins=[path], home=home)
    assert quick("plugged", plugins=[path], home=home) == first
    assert calls.read_text() == "x"
    forced = quick("plugged", plugins=[path], home=home, force=True)
    assert calls.read_text() == "xx"
    assert forced.started_at > first.started_at
    assert forced.metrics == first.metrics


def test_an_edited_plugin_is_another_selector(plugin: Callable[..., Path], home: Path) -> None:
    first = quick("plugged", plugins=[plugin("return keeping_all(data)")], home=home)
    plugin("return keeping_all(data)  # explained")
    explained = resolve(selector="plugged", recipe="quick/digits", epochs=EPOCHS)
    assert explained.fingerprint == first.fingerprint
    plugin("return keeping_all(data, diagnostics={'edited': True})")
    edited = resolve(selector="plugged", recipe="quick/digits", epochs=EPOCHS)
    assert edited.fingerprint != first.fingerprint


def test_code_that_was_edited_after_the_plan_is_not_run(
    plugin: Callable[..., Path], home: Path
) -> None:
    """A worker that starts late imports the new code; its result is not the plan's."""
    registry.add_plugin_file(plugin("return keeping_all(data)"))
    planned = resolve(selector="plugged", recipe="quick/digits", epochs=EPOCHS)
    plugin("return keeping_all(data, diagnostics={'edited': True})")
    place = Workplace(RunStore(home), torch.device("cpu"))
    with pytest.raises(PluginError, match="selector was edited after this run was planned"):
        runner.run_config(planned, place)
    assert place.store.records() == ([], [])


def test_a_label_file_that_changed_is_another_run(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    clean = Digits().load(None).train_labels
    hashes = []
    for n_wrong in (100, 200):
        labels = clean.copy()
        labels[:n_wrong] = (labels[:n_wrong] + 1) % 10
        np.savetxt(path, labels, fmt="%d")
        record = quick("none", noise="labels", settings={"noise.labels": str(path)}, home=home)
        assert record.noise.realized_rate == pytest.approx(n_wrong / 1437)
        hashes.append(record.noise.sha256)
    assert len(set(hashes)) == 2


def test_the_home_that_was_given_takes_all_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NLBENCH_HOME")
    monkeypatch.delenv("NLBENCH_CACHE")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    quick("imagenet-baseline", home=tmp_path / "there")
    assert list((tmp_path / "there").glob("runs/*/record.json"))
    assert list((tmp_path / "here").iterdir()) == []


def test_a_failed_run_is_tried_again(plugin: Callable[..., Path], home: Path) -> None:
    path = plugin(
        "if not (HERE / 'mended').exists():\n    raise ValueError('not yet')\n"
        "return keeping_all(data)"
    )
    with pytest.raises(RunError, match="not yet"):
        quick("plugged", plugins=[path], home=home)
    failed_record(home)
    (path.parent / "mended").touch()
    record = quick("plugged", plugins=[path], home=home)
    assert record.status == "finished"
    assert record.error is None
    assert [r.status for r in RunStore(home).records()[0]] == ["finished"]


# Failures


def test_a_failed_selector_leaves_a_record_with_the_reason(
    plugin: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    home = tmp_path / "home"
    path = plugin("x = 1\nraise ValueError('the idea was bad')")
    line = path.read_text().splitlines().index("        raise ValueError('the idea was bad')") + 1
    with pytest.raises(RunError, match=rf"the idea was bad \(at plugged\.py:{line}\)") as caught:
        quick("plugged", plugins=[path], home=home)
    record = failed_record(home)
    assert record.error is not None
    assert record.error.type == "ValueError"
    assert record.error.message == "the idea was bad"
    assert "~/plugins/plugged.py" in record.error.traceback
    assert str(tmp_path) not in record.error.traceback
    assert f"nlbench show run {record.fingerprint[:12]}" in str(caught.value)
    assert record.noise.sha256
    assert record.curves == {}


def test_an_error_inside_a_library_is_laid_at_the_plugins_line(
    plugin: Callable[..., Path], home: Path
) -> None:
    path = plugin("import json\nreturn json.loads('{')")
    with pytest.raises(RunError, match=r"plugged\.py:\d+"):
        quick("plugged", plugins=[path], home=home)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return Selection(keep=data.noisy_labels < 0, score=data.uniform())", "kept no sample"),
        ("return Selection(keep=torch.ones(3) > 0, score=torch.ones(3))", r"shape \(1293,\)"),
        ("return Selection(keep=data.uniform() > 0.5, score=torch.ones(3))", "score"),
        ("return keeping_all(data, weights=data.uniform() * math.nan)", "weights"),
        ("return keeping_all(data, labels=data.noisy_labels + 1)", r"\[0, 10\)"),
        ("return Selection(data.uniform() > 0.5, data.uniform() * math.nan)", "score"),
        ("return data.uniform() > 0.5", "Selection"),
        ("return None", "Selection"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_the_plugins_failure(
    plugin: Callable[..., Path], home: Path, body: str, message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        quick("plugged", plugins=[plugin(body)], home=home)
    error = failed_record(home).error
    assert error is not None
    assert error.type == "PluginError"


@pytest.mark.parametrize("value", ["math.nan", "data.noisy_labels", "{1, 2}", "HERE"])
def test_diagnostics_that_are_no_json_do_not_escape_as_a_traceback(
    plugin: Callable[..., Path], home: Path, value: str
) -> None:
    path = plugin(f"return keeping_all(data, diagnostics={{'value': {value}}})")
    try:
        record = quick("plugged", plugins=[path], home=home)
    except NlbenchError as error:
        assert "diagnostics" in str(error)
        record = failed_record(home)
    stored = RunStore(home).read(record.fingerprint)
    assert stored is not None
    assert stored.to_json() == record.to_json()


@pytest.mark.parametrize(
    "method", ["none", "small-loss", "co-teaching", "dividemix", "none+mixfix", "none+elr", "sop"]
)
def test_a_training_that_diverges_says_when(method: str, home: Path) -> None:
    with pytest.raises(DivergedError, match="the training diverged at epoch 1: its training loss"):
        quick(method, settings={"trainer.lr": 1e30}, home=home)
    record = failed_record(home)
    assert record.diverged_at == 1
    assert record.error is not None
    assert record.error.type == "DivergedError"
    (row,) = only([record]).rows
    assert row.status == "failed"
    assert any("diverged at epoch 1" in note for note in row.notes)


def test_a_training_that_diverges_later_keeps_its_curves(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = cross_entropy.CrossEntropy.mean_loss

    def until_the_second(self: Any, batch: Any, *others: Any) -> torch.Tensor:
        return usual(self, batch, *others) * (1 if batch.epoch < 2 else math.nan)

    monkeypatch.setattr(cross_entropy.CrossEntropy, "mean_loss", until_the_second)
    with pytest.raises(DivergedError, match="epoch 2"):
        quick("none", epochs=3, home=home)
    record = failed_record(home)
    assert record.diverged_at == 2
    assert len(record.curves["test_accuracy"]) == 1
    assert [loss is None for loss in record.curves["train_loss"]] == [False, True]
    assert tags_of(record, "board")["nlbench.diverged_at_epoch"] == "2"
    monkeypatch.undo()
    assert quick("none", epochs=3, home=home).diverged_at is None


def test_a_diverged_record_of_an_earlier_version_is_not_served(home: Path) -> None:
    done = quick("none", home=home)
    losses = [*done.curves["train_loss"][:-1], None]
    curves = {**done.curves, "train_loss": losses}
    RunStore(home).write(done.model_copy(update={"curves": curves}))
    again = quick("none", home=home)
    assert again.diverged_at is None
    assert again.attempt == 2


@pytest.mark.parametrize("share", [0.995, 0.9999])
def test_a_validation_part_that_leaves_nothing_is_refused_by_its_name(
    share: float, home: Path
) -> None:
    with pytest.raises(ConfigError, match=r"val_fraction.*training samples"):
        quick("none", settings={"protocol.val_fraction": share}, home=home)


def test_a_selector_that_exits_is_a_failed_run(plugin: Callable[..., Path], home: Path) -> None:
    path = plugin("sys.exit(0)")
    with pytest.raises(RunError, match="plugged"):
        quick("plugged", plugins=[path], home=home)
    failed_record(home)


# The command


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RunConfig]:
    """Return the configuration that a command line stands for."""
    taken: list[RunConfig] = []

    def take(config: RunConfig, *_: Any) -> RunRecord:
        taken.append(config)
        raise RunError("taken")

    def parse(command: str) -> RunConfig:
        monkeypatch.setattr(runner, "run_config", take)
        monkeypatch.setattr(runner, "earlier_record", lambda config, place: None)
        monkeypatch.setattr(runner, "open_tracker", lambda uri, store: None)
        registry._plugin_files.clear()
        words = shlex.split(command)
        assert words[0] == "nlbench"
        result = CliRunner().invoke(app, words[1:])
        assert taken, result.output
        return taken.pop()

    monkeypatch.setattr(logging.getLogger("nlbench"), "handlers", [logging.NullHandler()])
    return parse


def test_the_recorded_command_repeats_the_run(
    cell: Cell, parsed: Callable[[str], RunConfig]
) -> None:
    for record in cell.records.values():
        assert parsed(record.command).fingerprint == record.fingerprint, record.command


@pytest.mark.parametrize(
    "options",
    [
        {"noise": "asymmetric", "seed": 7},
        {"noise": "asymmetric", "settings": {"noise.class_map": {0: 1, 1: 0}}},
        {"noise": "none"},
        {"noise_rate": 0.123456789},
        {"settings": {"trainer.weight_decay": 1e-05, "protocol.val_fraction": 0}},
        {"settings": {"trainer.lr": 0.1 + 0.2}},
        {"selector": "clipcleaner", "settings": {"protocol.image_encoder": "yes"}},
        {"selector": "random", "settings": {"selector.keep_fraction": 0.1}},
        {"selector": "small-loss:divider=rate,noise_rate=0.25", "recipe": "quick/digits"},
        {"dataset": "folder:pets", "data_dir": "DATA"},
        {"dataset": "folder:DATA/pets", "settings": {"data.split_seed": 3}},
    ],
    ids=str,
)
def test_the_command_of_any_configuration_leads_back_to_it(
    parsed: Callable[[str], RunConfig], pets: Path, options: dict[str, Any]
) -> None:
    given = {
        key: value.replace("DATA", str(pets.parent)) if isinstance(value, str) else value
        for key, value in options.items()
    }
    if "data_dir" in given:
        given["data_dir"] = Path(given["data_dir"])
    config = resolve(**given)
    command = recorded_command(config, given.get("data_dir"))
    assert parsed(command).fingerprint == config.fingerprint, command


def recorded_command(config: RunConfig, data_dir: Path | None) -> str:
    """Return the command as it stands in a record, without running anything."""
    place = Workplace(RunStore(), torch.device("cpu"), data_dir=data_dir)
    inputs = prepare(config, place)
    return running_record(Attempt.begin(1, place.device), inputs).command


def test_the_command_names_the_plugin_file(
    parsed: Callable[[str], RunConfig], plugin: Callable[..., Path], home: Path
) -> None:
    path = plugin("return keeping_all(data)", class_lines="word: str = 'a'\n    number: float = 1")
    path = path.rename(path.with_name("my idea's.py"))
    record = quick("my idea's:word=it,number=1e-7", plugins=[path], home=home)
    assert parsed(record.command).fingerprint == record.fingerprint


@pytest.mark.parametrize("word", ["yes", "null", "007", "1e3", "a: b", "#1", "'", "ü", ""])
def test_a_text_setting_survives_the_command(
    parsed: Callable[[str], RunConfig], plugin: Callable[..., Path], word: str
) -> None:
    path = plugin("return keeping_all(data)", class_lines="word: str = 'a'")
    registry.add_plugin_file(path)
    config = resolve(selector="plugged", settings={"selector.word": word})
    command = reproduce_command(config, [str(path)])
    assert parsed(command).selector.params == {"word": word}, command


def test_the_command_of_another_trainer_names_what_its_defaults_are_not(
    parsed: Callable[[str], RunConfig], install: Install
) -> None:
    source = """
        from dataclasses import dataclass
        from nlbench.training.cross_entropy import CrossEntropy

        @dataclass(frozen=True)
        class Gentle(CrossEntropy):
            lr: float = 0.001
    """
    install("gentle", {"gentle.py": source}, "[nlbench.trainers]\ngentle = gentle:Gentle\n")
    config = resolve(trainer="gentle", epochs=30, settings={"trainer.lr": 0.05})
    again = parsed(reproduce_command(config))
    assert again.trainer == config.trainer
    assert again.fingerprint == config.fingerprint


# A folder of images


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images of 12 x 12 pixels in three classes, each with its own colour."""
    root = tmp_path_factory.mktemp("images") / "pets"
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("ada", "bob", "cleo")):
        (root / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 80, size=(12, 12, 3), dtype=np.uint8)
            pixels[2:10, 2:10, channel] += 150
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def on_pets(pets: Path, selector: str, **options: Any) -> RunRecord:
    settings = {"protocol.image_encoder": "bundled-glyphs", "protocol.image_size": 12}
    return nlbench.run(
        selector, f"folder:{pets}", epochs=EPOCHS, settings=settings, track=False, **options
    )


@pytest.mark.parametrize("selector", ["small-loss", "imagenet-baseline"])
def test_a_folder_of_images_runs_end_to_end(home: Path, pets: Path, selector: str) -> None:
    record = on_pets(pets, selector, home=home)
    assert record.status == "finished"
    assert record.dataset.name == "folder:pets"
    assert record.dataset.class_names == ["ada", "bob", "cleo"]
    assert (record.dataset.n_train, record.dataset.n_test) == (48, 12)
    assert record.noise.realized_rate == pytest.approx(0.4, abs=0.03)
    chosen = selection_of(home, record)
    assert len(chosen["keep"]) == 48 - round(4.8)
    for name, label in zip(chosen["id"], chosen["clean_label"], strict=True):
        assert (pets / name).is_file()
        assert Path(name).parent.name == record.dataset.class_names[label]


def test_a_moved_folder_is_the_same_run(home: Path, pets: Path, tmp_path: Path) -> None:
    first = on_pets(pets, "none", home=home)
    shutil.copytree(pets, tmp_path / "pets")
    assert on_pets(tmp_path / "pets", "none", home=home) == first


def test_a_folder_that_changed_is_read_again(home: Path, pets: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pets, tmp_path / "pets")
    first = on_pets(copy, "none", home=home)
    for path in copy.glob("*/1?.png"):
        path.unlink()
    second = on_pets(copy, "none", home=home)
    assert second.fingerprint != first.fingerprint
    assert second.dataset.n_train + second.dataset.n_test == 30
    assert second.dataset.fingerprint != first.dataset.fingerprint


def test_a_relative_folder_is_looked_for_where_one_is(
    home: Path, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(pets, tmp_path / "pets")
    for path in other.glob("*/1?.png"):
        path.unlink()
    sizes = []
    for place in (pets.parent, tmp_path):
        monkeypatch.chdir(place)
        sizes.append(on_pets(Path("pets"), "none", home=home).dataset.n_train)
    assert sizes == [48, 24]


def test_a_role_without_an_encoder_says_which_setting_names_one(home: Path) -> None:
    settings = {"protocol.image_encoder": ""}
    with pytest.raises(ConfigError, match=r"--set protocol\.image_encoder=NAME"):
        quick("imagenet-baseline", settings=settings, home=home)
    failed_record(home)


# MLflow


class DeadTracker:
    """A store that was there when it was opened, and is gone since."""

    uri = "http://mlflow.example.org"

    def begin(self, *_: Any, **__: Any) -> str:
        raise RunError(f"MLflow at {self.uri} failed: connection refused. {SYNC_HINT}")

    close_killed = finish = begin


class DyingTracker(DeadTracker):
    def begin(self, *_: Any, **__: Any) -> str:
        return "0123"


@pytest.mark.parametrize("tracker", [DeadTracker(), DyingTracker()], ids=lambda t: type(t).__name__)
def test_a_tracking_store_that_goes_away_costs_a_warning_and_no_record(
    home: Path, caplog: pytest.LogCaptureFixture, tracker: Any
) -> None:
    config = resolve(selector="none", epochs=1)
    store = RunStore(home)
    record = runner.run_config(config, Workplace(store, torch.device("cpu"), tracker))
    assert store.read(config.fingerprint) == record
    assert record.status == "finished"
    assert "nlbench sync" in only_warning(caplog)


def test_a_server_that_does_not_answer_costs_a_warning_and_no_record(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    record = quick("none", track=True, tracking_uri=uri, home=home)
    assert record.status == "finished"
    assert RunStore(home).read(record.fingerprint) == record
    assert f"no MLflow server answers at {uri}" in only_warning(caplog)
    assert "nlbench sync" in only_warning(caplog)


def test_a_tracking_uri_that_cannot_work_is_refused_before_the_run(home: Path) -> None:
    with pytest.raises(ConfigError, match="sqlite:///"):
        quick("none", track=True, tracking_uri="ftp://example.org", home=home)
    assert not (home / "runs").exists()


def only_warning(caplog: pytest.LogCaptureFixture) -> str:
    (message,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    return message
