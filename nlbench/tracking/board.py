"""Which MLflow experiment a record belongs to. Nothing here imports mlflow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from nlbench.files import canonical_json
from nlbench.results.record import RunRecord
from nlbench.tracking.schema import SCHEMA, cut, hide_home, noise_label, sha256

PREFIX = "nlbench/"
SUMMARY_PREFIX = "nlbench-means/"
PRIMARY_METRIC = "test/acc_last"


@dataclass(frozen=True)
class Board:
    """The experiment that a record belongs to: one per protocol, data set and noise."""

    name: str
    key: str
    tags: dict[str, str]

    @property
    def distinct_name(self) -> str:
        """The name to use where another board has taken `name`."""
        return f"{self.name}-{self.key[:6]}"


def board_of(record: RunRecord) -> Board:
    """Return the board of a record; its key covers all that must be equal in a comparison."""
    noise: dict[str, Any] = {
        "kind": record.noise.kind,
        "rate": record.noise.nominal_rate,
        "params": {k: v for k, v in record.noise.params.items() if k != "seed"},
    }
    identity = {
        "dataset": record.dataset.fingerprint,
        "protocol": record.protocol.sha256,
        "noise": noise,
    }
    tags = {
        "nlbench.schema": SCHEMA,
        "nlbench.board": sha256(canonical_json(identity)),
        "nlbench.protocol": cut(record.protocol.id),
        "nlbench.protocol_sha256": record.protocol.sha256,
        "nlbench.dataset": cut(record.dataset.name),
        "nlbench.dataset_fingerprint": record.dataset.fingerprint,
        "nlbench.noise": cut(hide_home(canonical_json(noise))),
        "nlbench.primary_metric": PRIMARY_METRIC,
        "nlbench.holds": "runs",
        "mlflow.note.content": _board_note(record),
    }
    protocol = segment(record.protocol.id)
    name = f"{PREFIX}{protocol}/{segment(record.dataset.name)}-{segment(noise_label(record))}"
    return Board(name, tags["nlbench.board"], tags)


def means_board_of(record: RunRecord) -> Board:
    """Return the experiment beside a board's that has the means over its seeds."""
    board = board_of(record)
    tags = {**board.tags, "nlbench.holds": "means", "mlflow.note.content": _means_note(record)}
    return Board(f"{SUMMARY_PREFIX}{board.name.removeprefix(PREFIX)}", board.key, tags)


def segment(text: str) -> str:
    """Return a part of an experiment's name."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")
    return name[:60] or "unnamed"


def _title(record: RunRecord) -> str:
    rate = record.noise.nominal_rate
    nominal = "no nominal rate" if rate is None else f"nominal rate {rate:.0%}"
    text = f"{record.dataset.name}, noise {record.noise.kind}"
    return re.sub(r"[`*_<>\[\]|\\]", " ", text) + f", {nominal}"


def _means_note(record: RunRecord) -> str:
    return (
        f"{_title(record)}: mean, sample SD and 95 % t-interval over seeds, a run per method. "
        "Whether two methods differ is a matter of paired differences, which "
        "`nlbench leaderboard` tests. Shares are percent; the step of a chart is the number of "
        "seeds."
    )


def _board_note(record: RunRecord) -> str:
    dataset = record.dataset
    return (
        f"{_title(record)}: {dataset.n_train} training and {dataset.n_test} test images, "
        f"{dataset.n_classes} classes. `sel/*`, `test/*` and shares in `train/*` are percent, "
        "`time/*_s` seconds, `time/peak_mb` MiB. Group by the param `selector` for means over "
        "seeds. `test/acc_best` is chosen on the test set and not ranked; nor are selectors with "
        "the tag `nlbench.bound` true, which know the clean labels."
        + ("" if dataset.test_labels_are_clean else " All `test/*` are against noisy labels.")
    )
