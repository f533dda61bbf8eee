"""The records of a home as a table, one row per run, for pandas."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbench.files import canonical_json
from nlbench.results.record import RunRecord, SelectionMetrics, Times
from nlbench.results.store import RunStore

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger("nlbench")

_SELECTION = tuple(n for n in SelectionMetrics.model_fields if n != "recall_per_class")
_TEST = ("accuracy_last", "accuracy_noisy_val", "accuracy_best_oracle")
COLUMNS: dict[str, str] = {
    **dict.fromkeys(("fingerprint", "status", "method", "label", "selector"), "str"),
    **dict.fromkeys(("selector_params", "trainer", "trainer_params", "dataset"), "str"),
    "n_train": "int",
    "noise": "str",
    "noise_rate": "float",
    "noise_params": "str",
    "realized_noise_rate": "float",
    "noise_sha256": "str",
    "seed": "int",
    **dict.fromkeys(("protocol", "protocol_sha256"), "str"),
    **dict.fromkeys(_TEST, "float"),
    **dict.fromkeys((f"selection_{name}" for name in _SELECTION), "float"),
    **dict.fromkeys(Times.model_fields, "float"),
    **dict.fromkeys(("started_at", "finished_at", "command", "error"), "str"),
}
_TYPES = {"str": "object", "int": "int64", "float": "float64"}


def load_records(home: str | Path | None = None) -> pd.DataFrame:
    """Return all runs of a home that have ended, one row each, in order of fingerprint.

    Shares are in [0, 1], times in seconds, memory in MiB, rates as they were asked for
    (`noise_rate`) and as they came out (`realized_noise_rate`). What was not measured is NaN, so
    a failed run has no metrics and its `error` says why. `selector_params`, `trainer_params` and
    `noise_params` are JSON with sorted keys: equal settings are equal text. `label` is the method
    with the settings that differ from the defaults, which is a row of the leaderboard.
    docs/results.md describes all columns.

    Args:
        home: The folder with the runs; `NLBENCH_HOME` where left out.

    Returns:
        A table with the columns of `COLUMNS`, also where there is no run. Records that cannot be
        read are left out with a warning in the log of nlbench.
    """
    import pandas as pd

    records, problems = RunStore(home).records()
    for problem in problems:
        _log.warning("left out: %s", problem)
    table = pd.DataFrame([_row(record) for record in records], columns=list(COLUMNS))
    return table.astype({name: _TYPES[kind] for name, kind in COLUMNS.items()})


def _row(record: RunRecord) -> dict[str, Any]:
    return {
        "fingerprint": record.fingerprint,
        "status": record.status,
        "method": record.method or record.selector.name,
        "label": record.label,
        "selector": record.selector.name,
        "selector_params": canonical_json(record.selector.params),
        "trainer": record.trainer.name,
        "trainer_params": canonical_json(record.trainer.params),
        "dataset": record.dataset.name,
        "n_train": record.dataset.n_train,
        "noise": record.noise.kind,
        "noise_rate": record.noise.nominal_rate,
        "noise_params": canonical_json(record.noise.params),
        "realized_noise_rate": record.noise.realized_rate,
        "noise_sha256": record.noise.sha256,
        "seed": record.seed,
        "protocol": record.protocol.id,
        "protocol_sha256": record.protocol.sha256,
        **_metrics(record),
        **record.times.model_dump(),
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "command": record.command,
        "error": f"{record.error.type}: {record.error.message}" if record.error else "",
    }


def _metrics(record: RunRecord) -> dict[str, float | None]:
    if record.metrics is None:
        return {}
    test, selection = record.metrics.test, record.metrics.selection
    return {
        **{name: getattr(test, name) for name in _TEST},
        **{f"selection_{name}": getattr(selection, name) for name in _SELECTION},
    }
