"""A run that was stopped goes on and ends as if nothing had been."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import nlbench
from nlbench.checkpoints import CheckpointFolder
from nlbench.errors import PausedError
from nlbench.machine import package_versions
from nlbench.plugins import registry
from nlbench.runner import resuming
from nlbench.training.networks import SmallCNN

N_EPOCHS = 6
METHODS = [
    "none", "clip-knn", "small-loss+mixfix", "dividemix+elr", "unicon+gce", "co-teaching+sop",
    "co-teaching-epoch+mixup", "co-teaching-plus", "jocor", "cores2", "wrong-event+label-smoothing",
    "aum", "early-cutting", "small-loss:divider=rate,noise_rate=estimated",
]  # fmt: skip


def stop_after(n_epochs: int) -> Callable[[str, int, int], None]:
    """Return progress that stops the run as Ctrl-C does, so many epochs of all rounds in."""
    left = n_epochs

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal left
        left -= stage == "train"
        if left < 0:
            raise KeyboardInterrupt

    return progress


def run(home: Path, method: str, **options: Any) -> nlbench.RunRecord:
    options = {"epochs": N_EPOCHS, "checkpoint_every_s": 0, "track": False, **options}
    return nlbench.run(method, home=home, **options)


def results(home: Path, record: nlbench.RunRecord) -> dict[str, Any]:
    """Return all that a run gave, seconds and dates aside."""
    folder = home / "runs" / record.fingerprint
    content = record.model_dump()
    for name in ("times", "attempt", "resumed", "started_at", "finished_at"):
        content.pop(name, None)
    content["selection"] = pq.read_table(folder / "selection.parquet").to_pydict()
    content["predictions"] = pq.read_table(folder / "predictions.parquet").to_pydict()
    return content


def checkpoints_in(home: Path) -> list[Path]:
    return sorted(home.glob("runs/*/checkpoints/*"))


@pytest.mark.parametrize("method", METHODS)
def test_a_run_goes_on_bit_by_bit(method: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = run(whole, method)
    n_stops = max(2, 2 * expected.diagnostics.get("n_rounds", 1) - 1)
    for _ in range(n_stops):
        with pytest.raises(KeyboardInterrupt):
            run(parts, method, progress=stop_after(2))
        assert checkpoints_in(parts)
    record = run(parts, method)
    assert record.resumed == n_stops
    assert results(parts, record) == results(whole, expected)
    assert not checkpoints_in(parts)


def test_every_method_that_changes_in_training_is_resumed_here() -> None:
    kinds = (nlbench.OnlineSelector, nlbench.BatchSelector)
    selectors = registry.components("selectors").values()
    changing = {each.name for each in selectors if issubclass(each.load(), kinds)}
    trainers = set(registry.components("trainers")) - {"cross-entropy"}
    named = {name for method in METHODS for name in method.partition(":")[0].split("+")}
    assert changing | trainers <= named


PLUGIN = '''"""Keeps what a network of its own confirms; for tests."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from nlbench import OnlineSelector, Selection


@dataclass
class Own(OnlineSelector):
    """Own network, optimiser, draws and memory."""

    memory: Any = field(default=None, init=False)
    draws: Any = field(default=None, init=False)
    network: Any = field(default=None, init=False)

    def first(self, data):
        MADE_IN_FIRST
        self.draws = np.random.default_rng(data.seed)
        return super().first(data)

    def make(self, data):
        with torch.random.fork_rng():
            torch.manual_seed(data.seed)
            self.network = torch.nn.Linear(data.n_classes, 1)
        self.optimiser = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.9)

    def select(self, data, dynamics):
        if self.network is None:
            self.make(data)
        out = self.network(dynamics.logits).squeeze(1)
        loss = (out + dynamics.losses).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        score = out.detach() + 0.01 * torch.from_numpy(self.draws.random(len(out))).float()
        before = self.memory[-1] if self.memory else torch.zeros_like(score)
        self.memory = [*(self.memory or [])[-2:], 0.5 * before + score]
        return Selection(keep=self.memory[-1] >= self.memory[-1].median(), score=self.memory[-1])
'''


def plugin_with(tmp_path: Path, made_in_first: str) -> Path:
    file = tmp_path / "own.py"
    file.write_text(PLUGIN.replace("MADE_IN_FIRST", made_in_first))
    return file


def test_a_plugin_with_a_network_of_its_own_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = plugin_with(tmp_path, "self.make(data)")
    expected = run(tmp_path / "whole", "own", plugins=[file])
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", "own", plugins=[file], progress=stop_after(4))
    record = run(tmp_path / "parts", "own", plugins=[file])
    assert record.resumed == 1
    assert results(tmp_path / "parts", record) == results(tmp_path / "whole", expected)
    assert "goes on after epoch 4" in caplog.text


def test_a_plugin_that_cannot_go_on_says_so_once_and_ends_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = plugin_with(tmp_path, "pass")  # made in `select`, where nobody makes it again
    record = run(tmp_path, "own", plugins=[file])
    assert record.status == "finished"
    (line,) = [text for text in caplog.messages if "no checkpoints" in text]
    assert "starts anew if it is killed" in line and "Make it in `first`" in line
    assert not checkpoints_in(tmp_path)


def stopped(home: Path, after: int = 4) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(home, "small-loss", progress=stop_after(after))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = run(tmp_path / "whole", "small-loss")
    stopped(tmp_path / "parts")
    newest = checkpoints_in(tmp_path / "parts")[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    record = run(tmp_path / "parts", "small-loss")
    assert "is damaged" in caplog.text and "goes on after epoch 3" in caplog.text
    assert results(tmp_path / "parts", record) == results(tmp_path / "whole", expected)


def test_one_that_does_not_fit_gives_way_to_a_new_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(tmp_path / "whole", "small-loss")
    stopped(tmp_path / "parts")
    monkeypatch.setattr(SmallCNN, "load_state_dict", refuse)
    record = run(tmp_path / "parts", "small-loss")
    assert caplog.text.count("cannot go on after epoch") == 2
    assert record.resumed == 0
    assert results(tmp_path / "parts", record) == results(tmp_path / "whole", expected)


def refuse(*given: Any, **named: Any) -> None:
    raise RuntimeError("size mismatch")


def test_other_versions_of_libraries_begin_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path)
    versions = {**package_versions(), "torch": "99"}
    monkeypatch.setattr(resuming, "package_versions", lambda: versions)
    record = run(tmp_path, "small-loss")
    assert "(now 99)" in caplog.text and record.resumed == 0


def test_seconds_add_up_and_work_that_was_lost_does_not_count(tmp_path: Path) -> None:
    stopped(tmp_path)
    facts = torch.load(checkpoints_in(tmp_path)[-1], weights_only=True)
    before = dict(facts["times"])
    record = run(tmp_path, "small-loss")
    assert record.times.train_s > before["train_s"] > 0
    assert record.times.total_s > before["total_s"]
    stages = record.times.model_dump(exclude={"total_s", "peak_memory_mb"})
    assert sum(stages.values()) <= record.times.total_s


def test_a_run_that_never_stopped_has_the_record_of_before(tmp_path: Path) -> None:
    assert "resumed" not in run(tmp_path, "none", epochs=1).to_json()


def test_force_goes_on_where_it_was_killed_and_not_from_what_is_finished(tmp_path: Path) -> None:
    stopped(tmp_path)
    folder = checkpoints_in(tmp_path)[0].parent
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    first = run(tmp_path, "small-loss")
    shutil.copytree(kept, folder)  # as if it had been killed before it deleted them
    assert run(tmp_path, "small-loss", force=True).resumed == 0
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "small-loss", force=True, progress=stop_after(3))
    again = run(tmp_path, "small-loss", force=True)
    assert again.resumed == 1 and again.metrics == first.metrics


def test_what_fails_as_soon_as_it_goes_on_begins_anew_the_next_time(tmp_path: Path) -> None:
    stopped(tmp_path)

    def fail(stage: str, done: int, total: int) -> None:
        if stage == "train":
            raise ValueError("the same again")

    with pytest.raises(nlbench.RunError, match="the same again"):
        run(tmp_path, "small-loss", progress=fail)
    assert not checkpoints_in(tmp_path)
    assert run(tmp_path, "small-loss").resumed == 0


def test_what_failed_by_itself_goes_on(tmp_path: Path) -> None:
    def fail(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("train", 4):
            raise MemoryError

    with pytest.raises(nlbench.RunError, match="MemoryError"):
        run(tmp_path, "small-loss", progress=fail)
    assert run(tmp_path, "small-loss").resumed == 1


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CheckpointFolder, "write", full)
    assert run(tmp_path, "none").status == "finished"
    assert "goes on without a checkpoint" in caplog.text


def test_a_time_limit_ends_early_and_the_same_command_goes_on(tmp_path: Path) -> None:
    expected = run(tmp_path / "whole", "dividemix")
    parts, n_stops = tmp_path / "parts", 0
    while True:
        try:
            record = run(parts, "dividemix", max_time_s=0.001, checkpoint_every_s=3600)
            break
        except PausedError as error:
            n_stops += 1
            said = f"after epoch {n_stops} of 6. The same command goes on"
            assert said in str(error) and error.exit_code == 75
    assert n_stops == record.resumed == N_EPOCHS - 1
    assert results(parts, record) == results(tmp_path / "whole", expected)


@pytest.mark.parametrize(
    "options", [{"checkpoint_every_s": -1}, {"checkpoint_every_s": float("nan")}, {"max_time_s": 0}]
)
def test_seconds_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(nlbench.ConfigError, match="must be seconds"):
        run(tmp_path, "none", **options)


def test_small_epochs_are_not_saved_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    monkeypatch.setattr(CheckpointFolder, "write", lambda self, content, facts: written.append(1))
    run(tmp_path, "none", checkpoint_every_s=30)
    assert not written
