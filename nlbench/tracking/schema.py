"""What a record becomes in MLflow: names, params, tags, metrics. Nothing here imports mlflow.

Metrics are percent rounded to 4 decimals, since MLflow's tables show raw doubles; times are
seconds, memory is MiB, losses are nats.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nlbench import __version__
from nlbench.files import canonical_json
from nlbench.results.record import RunRecord

SCHEMA = "1"
VALUE_LIMIT = 500
TAG_LIMIT = 2000

_CURVE_NAMES = {
    "train_loss": "train/loss",
    "test_accuracy": "train/test_acc",
    "noisy_val_accuracy": "train/nval_acc",
    "selection_f1": "train/sel_f1",
    "selection_precision": "train/sel_prec",
    "selection_recall": "train/sel_rec",
    "kept_fraction": "train/kept",
    "relabel_accuracy": "train/relabel_acc",
}
_SHARE_ENDINGS = ("_accuracy", "_f1", "_precision", "_recall", "_fraction", "_auroc", "_auprc")


@dataclass(frozen=True)
class Point:
    """One value of one metric; the time is derived from the record, so it never varies."""

    key: str
    value: float
    time_ms: int
    step: int


def noise_label(record: RunRecord) -> str:
    """Return the noise as printed: its kind, and the nominal rate with two decimals if any."""
    rate = record.noise.nominal_rate
    return record.noise.kind if rate is None else f"{record.noise.kind}-{rate:.2f}"


def run_name(record: RunRecord) -> str:
    """Return the display name of a run."""
    return f"{cut(record.label, 200)} s{record.seed}"


def params_of(record: RunRecord) -> dict[str, str]:
    """Return the identity and settings of a run; `selector` is the key to group by."""
    settings = dict(_leaves(record.protocol.settings))
    device = record.environment.get("device") or settings.get("device")
    values: dict[str, Any] = {
        "selector": record.label,
        "selector_name": record.selector.name,
        "method": record.method,
        "trainer": record.trainer.name,
        "dataset": record.dataset.name,
        "noise": noise_label(record),
        "noise_kind": record.noise.kind,
        "noise_rate": record.noise.nominal_rate,
        "seed": record.seed,
        "protocol": record.protocol.id,
        "versions": versions_line(record),
        "device": device,
        **{key: settings.get(key) for key in ("epochs", "batch_size", "network")},
        "lr": record.trainer.params.get("lr"),
    }
    values |= {f"tp.{key}": value for key, value in record.trainer.variant.items()}
    values |= {f"hp.{key}": value for key, value in record.selector.params.items()}
    return {clean_name(k): cut(_text(v)) for k, v in values.items() if v is not None}


def versions_line(record: RunRecord) -> str:
    """Return which code made a run, in one line: means must not mix versions.

    >>> from types import SimpleNamespace as Record
    >>> versions_line(Record(versions={"selector": 2, "noise": 1, "trainer": "code:0123456789abc"}))
    'noise 1, selector 2, trainer 01234567'
    """
    parts = (f"{k} {str(v).removeprefix('code:')[:8]}" for k, v in sorted(record.versions.items()))
    return ", ".join(parts) or "not recorded"


def tags_of(record: RunRecord, board_key: str) -> dict[str, str]:
    """Return the tags that hold from the first moment of a run to its end."""
    group = {
        "board": board_key,
        "selector": record.selector.model_dump(mode="json"),
        # Losses differ in their trainer alone: all of them keep everything.
        "trainer": {"name": record.trainer.name, "params": record.trainer.params},
        # Left out of records from before versions were kept: they stay in their group.
        **({"versions": record.versions} if record.versions else {}),
    }
    tags = {
        "nlbench.schema": SCHEMA,
        "nlbench.version": __version__,
        "nlbench.fingerprint": record.fingerprint,
        "nlbench.group": sha256(canonical_json(group))[:32],
        "nlbench.attempt": str(record.attempt),
        "nlbench.bound": str(record.selector.is_bound).lower(),
        "nlbench.versions": canonical_json(record.versions),
        "nlbench.test_labels": "clean" if record.dataset.test_labels_are_clean else "noisy",
        "nlbench.knowledge": ", ".join(record.selector.knowledge) or "noisy labels only",
        "nlbench.env": _environment_line(record.environment),
        "nlbench.host": host_hash(),
        "nlbench.pid": str(os.getpid()),
        "mlflow.source.name": "nlbench",
        "mlflow.source.type": "LOCAL",
    }
    if record.diverged_at is not None:
        tags["nlbench.diverged_at_epoch"] = str(record.diverged_at)
    commit = record.environment.get("git_commit")
    if isinstance(commit, str) and commit:
        tags["mlflow.source.git.commit"] = commit
    return {key: cut(hide_home(value), TAG_LIMIT) for key, value in tags.items()}


def headline(record: RunRecord) -> dict[str, float | None]:
    """Return the numbers that a finished run is judged by, and its times."""
    times = record.times
    values: dict[str, float | None] = {
        "time/data_s": times.data_s,
        "time/embed_s": times.embed_s,
        "time/select_s": times.select_s,
        "time/train_s": times.train_s,
        "time/total_s": times.total_s,
        "time/peak_mb": times.peak_memory_mb,
    }
    if record.metrics is None:
        return values
    selection, test = record.metrics.selection, record.metrics.test
    shares = {
        "sel/f1": selection.f1,
        "sel/precision": selection.precision,
        "sel/recall": selection.recall,
        "sel/auroc": selection.auroc,
        "sel/auprc": selection.auprc,
        "sel/kept": selection.kept_fraction,
        "sel/noise_after": selection.noise_rate_after,
        "test/acc_last": test.accuracy_last,
        "test/acc_nval": test.accuracy_noisy_val,
        "test/acc_best": test.accuracy_best_oracle,
        **{clean_name(f"test/acc_{name}"): share for name, share in test.other_tests.items()},
    }
    return {**{key: _percent(value) for key, value in shares.items()}, **values}


def headline_points(record: RunRecord) -> tuple[list[Point], list[str]]:
    """Return the finite headline numbers, and the names of those that are not finite."""
    longest = max((len(curve) for curve in record.curves.values()), default=0)
    time_ms = millis(record.started_at) + longest + 1
    points, dropped = [], []
    for key, value in headline(record).items():
        if value is None:
            continue
        if math.isfinite(value):
            points.append(Point(key, round(value, 4), time_ms, 0))
        else:
            dropped.append(key)
    return points, dropped


def curve_points(record: RunRecord) -> tuple[list[Point], list[str]]:
    """Return all finite values per epoch (steps count from 1), and the names of those dropped."""
    start = millis(record.started_at)
    points: list[Point] = []
    dropped: list[str] = []
    for name, curve in record.curves.items():
        key = _CURVE_NAMES.get(name) or clean_name(f"train/{name}")
        share = name.endswith(_SHARE_ENDINGS) or "noise_rate" in name
        for epoch, raw in enumerate(curve, start=1):
            if raw is None:
                continue
            if math.isfinite(raw):
                value = round(100 * raw, 4) if share else raw
                points.append(Point(key, value, start + epoch, epoch))
            elif key not in dropped:
                dropped.append(key)
    return points, dropped


def note_of(record: RunRecord, board_links: str = "") -> str:
    """Return the run's note in Markdown: what came out, where its board is, how to repeat it."""
    lines = []
    if record.metrics is not None:
        selection, test = record.metrics.selection, record.metrics.test
        before, after = selection.noise_rate_before, selection.noise_rate_after
        noise = "" if before is None or after is None else f", noise {before:.2%} → {after:.2%}"
        f1 = "– (clean labels unknown)" if selection.f1 is None else f"**{selection.f1:.2%}**"
        lines += [
            f"Selection F1 {f1}, kept {selection.kept_fraction:.2%}{noise}; "
            f"test accuracy **{test.accuracy_last:.2%}** (last epoch{_against(record)}).",
            *(f"On {name}: {share:.2%}." for name, share in test.other_tests.items()),
        ]
    if record.error is not None:
        end = "Failed" if record.diverged_at is None else f"Diverged at epoch {record.diverged_at}"
        lines += [f"{end}; see the artifact `error/traceback.txt`."]
    if board_links:
        lines += [f"Its board: {board_links}."]
    if record.command:
        # A fence longer than any in the command keeps the command from ending it.
        fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", record.command))])
        lines += ["", "Repeat it:", "", fence, hide_home(record.command), fence]
    return cut("\n".join(lines), 4000)


def _against(record: RunRecord) -> str:
    return "" if record.dataset.test_labels_are_clean else ", against noisy labels"


def clean_name(text: str) -> str:
    """Return a name that MLflow accepts; two different names never become one.

    >>> clean_name("hp.n_neighbours")
    'hp.n_neighbours'
    >>> clean_name("hp.acc@1")
    'hp.acc_1_211a68'
    """
    name = re.sub(r"[^A-Za-z0-9_./ -]+", "_", text)
    name = "/".join(part for part in name.split("/") if part.strip(". "))
    if name == text and len(name) <= 200:
        return name
    return f"{name[:200]}_{sha256(text)[:6]}"


def cut(text: str, limit: int = VALUE_LIMIT) -> str:
    """Cut a long value visibly, with a hash of the whole, instead of MLflow's silent cut."""
    if len(text) <= limit:
        return text
    note = f"… [{len(text)} characters, sha256 {sha256(text)[:12]}]"
    return text[: max(limit - len(note), 0)] + note


def hide_home(text: str) -> str:
    """Replace the user's home folder by ``~``, also where JSON has escaped it."""
    home = str(Path.home())
    if len(Path(home).parts) < 2:
        return text
    for form in {home, json.dumps(home)[1:-1]}:
        text = re.sub(rf"(?<![\w./~-]){re.escape(form)}(?![\w.-])", "~", text)
    return text


def sha256(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def host_hash() -> str:
    """Return a short hash that tells machines apart without naming them."""
    return sha256(platform.node())[:8]


def millis(moment: str) -> int:
    """Return an ISO time in milliseconds since 1970, 0 if it is empty or malformed."""
    try:
        parsed = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    except ValueError:
        return 0
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
    return int(aware.timestamp() * 1000)


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 4)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return hide_home(value)
    return hide_home(json.dumps(value, sort_keys=True, default=str, ensure_ascii=False))


def _leaves(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return all settings by their last name; the outer one wins where a name comes twice."""
    for value in settings.values():
        if isinstance(value, Mapping):
            yield from _leaves(value)
    yield from ((key, value) for key, value in settings.items() if not isinstance(value, Mapping))


def _environment_line(environment: Mapping[str, Any]) -> str:
    packages = environment.get("packages")
    values = {**environment, **(packages if isinstance(packages, Mapping) else {})}
    keys = ("python", "torch", "system", "cpu", "device")
    parts = [f"{key} {values[key]}" for key in keys if values.get(key)]
    return ", ".join(parts) or "not recorded"
