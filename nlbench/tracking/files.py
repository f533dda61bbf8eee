"""The files that go with a run into MLflow. Nothing here imports mlflow."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nlbench.results.digests import read_beside, sealed
from nlbench.results.gallery import contact_sheet, read_gallery
from nlbench.results.record import RunRecord
from nlbench.tracking.figures import score_histogram_svg, transition_matrix_svg
from nlbench.tracking.schema import hide_home

SELECTION_FILE = "selection.parquet"


def write_files(record: RunRecord, folder: Path, target: Path) -> list[str]:
    """Write everything that a run leaves behind into one folder.

    Args:
        record: The ended run.
        folder: The run's local folder, with ``selection.parquet`` and ``gallery.json`` where the
            runner wrote them.
        target: An empty folder.

    Returns:
        A message per file that could not be made; the others are there all the same.
    """
    _write(target / "result.json", sealed(hide_home(record.to_json())))
    _write(target / "config" / "run_spec.json", _json(record.config))
    _write(target / "environment.json", _json(record.environment))
    if record.command:
        _write(target / "command.txt", hide_home(record.command) + "\n")
    if record.error is not None:
        _write(target / "error" / "traceback.txt", _error_text(record))
    if record.metrics is not None:
        _write(target / "tables" / "per_class.json", _json(per_class_table(record)))
    steps: list[tuple[str, Callable[[], None]]] = [
        ("selection", lambda: _selection(record, folder / SELECTION_FILE, target / "selection")),
        ("figures", lambda: _figures(record, target / "figures")),
        ("gallery", lambda: _gallery(record, folder, target / "figures")),
    ]
    problems = []
    for name, step in steps:
        try:
            step()
        except Exception as error:
            problems.append(f"{name}: {type(error).__name__}: {error}")
    return problems


def per_class_table(record: RunRecord) -> dict[str, Any]:
    """Return noise, recall of the selection and accuracy per class, in percent, as MLflow shows it.

    The layout is pandas' "split", which MLflow's interface renders as a table and compares
    over runs.
    """
    metrics = record.metrics
    columns: dict[str, Sequence[Any]] = {
        "class": class_names(record),
        "noise_rate": record.noise.realized_rate_per_class,
        "selection_recall": metrics.selection.recall_per_class if metrics else [],
        "test_accuracy": metrics.test.accuracy_per_class if metrics else [],
    }
    rows = [
        [_cell(values, index) for values in columns.values()]
        for index in range(record.dataset.n_classes)
    ]
    return {"columns": list(columns), "data": rows}


def class_names(record: RunRecord) -> list[str]:
    """Return the class names, numbers where there are none."""
    names = record.dataset.class_names
    return names or [str(index) for index in range(record.dataset.n_classes)]


def selection_summary(path: Path, names: Sequence[str]) -> str:
    """Return per noisy label how well the selection did, as CSV.

    Args:
        path: The selection as written by the runner.
        names: Class names in label order.

    Returns:
        CSV text; precision and recall are shares, empty where nothing was kept or nothing is
        clean, or where the clean labels are not known.
    """
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["noisy_label", "clean_label", "keep"]).to_pydict()
    noisy = np.asarray(table["noisy_label"], dtype=np.int64)
    has_truth = all(label is not None and label >= 0 for label in table["clean_label"])
    clean = np.asarray(table["clean_label"] if has_truth else noisy, dtype=np.int64)
    keep = np.asarray(table["keep"], dtype=bool)
    columns = ("class", "n", "noisy", "kept", "kept_clean", "precision", "recall")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for label, name in enumerate(names):
        of_class = noisy == label
        right = of_class & (clean == noisy)
        n, n_clean = int(of_class.sum()), int(right.sum())
        n_kept, n_kept_clean = int((of_class & keep).sum()), int((right & keep).sum())
        truth = (n - n_clean, n_kept, n_kept_clean) if has_truth else ("", n_kept, "")
        shares = (
            (_share(n_kept_clean, n_kept), _share(n_kept_clean, n_clean))
            if has_truth
            else ("",) * 2
        )
        writer.writerow([_csv_safe(name), n, *truth, *shares])
    return text.getvalue()


def _selection(record: RunRecord, source: Path, target: Path) -> None:
    content = read_beside(source)
    if content is None:
        return
    target.mkdir(parents=True)
    (target / SELECTION_FILE).write_bytes(content)
    _write(target / "summary.csv", selection_summary(source, class_names(record)))


def _figures(record: RunRecord, target: Path) -> None:
    if record.noise.transition_matrix:
        _write(target / "transition_matrix.svg", transition_matrix_svg(record))
    if record.score_histogram:
        _write(target / "score_histogram.svg", score_histogram_svg(record))


def _gallery(record: RunRecord, folder: Path, target: Path) -> None:
    groups = read_gallery(folder)
    if groups:
        target.mkdir(parents=True, exist_ok=True)
        (target / "gallery.png").write_bytes(contact_sheet(groups, class_names(record)))


def _cell(values: Sequence[Any], index: int) -> Any:
    value = values[index] if index < len(values) else None
    return round(100 * value, 2) if isinstance(value, float | int) else value


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.4f}" if whole else ""


def _csv_safe(text: str) -> str:
    # A spreadsheet runs a cell that starts like a formula.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _error_text(record: RunRecord) -> str:
    error = record.error
    assert error is not None  # noqa: S101 - the caller checked; for the type checker
    return hide_home(f"{error.type}: {error.message}\n\n{error.traceback}\n")


def _json(value: Any) -> str:
    return hide_home(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
