"""A run that was stopped goes on and ends as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import nlbench
from nlbench.plugins import registry

N_EPOCHS = 6
METHODS = [
    "none", "random", "small-loss", "dividemix", "unicon", "co-teaching", "co-teaching-epoch",
    "co-teaching-plus", "jocor", "cores2", "wrong-event", "aum", "early-cutting", "elr", "sop",
    "gce", "mixup", "label-smoothing", "none+mixfix", "small-loss+mixfix", "dividemix+elr",
    "co-teaching+sop", "aum+sop", "clip-knn",
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
    named = {name for method in METHODS for name in method.split("+")}
    assert changing | trainers <= named
