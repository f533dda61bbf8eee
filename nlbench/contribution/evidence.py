"""What a run decided, sample by sample: enough to recompute its metrics, and no image."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbench.contribution.packing import Array
from nlbench.errors import DataError, RefusedError
from nlbench.files import write_atomic
from nlbench.results.digests import read_beside
from nlbench.results.samples import PREDICTIONS_FILE, SELECTION_FILE


@dataclass(frozen=True, eq=False)
class Evidence:
    """Arrays of one run; N samples were seen by the selector, M are in the test set.

    Attributes:
        index: (N,) int64 positions in the training split, ascending.
        noisy_label: (N,) int64.
        keep: (N,) bool, the last decision.
        score: (N,) float32 or float64, the last ranking.
        clean_label: (N,) int64; None where nobody knows them.
        corrected_label: (N,) int64; None where the selector corrected nothing.
        test_label: (M,) int64; None for runs that kept no predictions.
        predicted: (M,) int64, of the last epoch.
        predicted_noisy_val: (M,) int64, of the epoch chosen by noisy validation.
    """

    index: Array
    noisy_label: Array
    keep: npt.NDArray[np.bool_]
    score: Array
    clean_label: Array | None = None
    corrected_label: Array | None = None
    test_label: Array | None = None
    predicted: Array | None = None
    predicted_noisy_val: Array | None = None

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that are there, by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: values for name, values in named.items() if values is not None}


ARRAYS = tuple(field.name for field in fields(Evidence))
NEEDED = ("index", "noisy_label", "keep", "score")


def evidence_of(folder: Path) -> Evidence | None:
    """Read the evidence of a run from its local folder; None where it left none.

    Raises:
        DataError: if a file is damaged.
        RefusedError: if the operating system does not let us read it.
    """
    selection = _columns(folder / SELECTION_FILE)
    if not selection:
        return None
    tested = _columns(folder / PREDICTIONS_FILE)
    if "label" in tested:
        tested["test_label"] = tested.pop("label")
    arrays_here = {**selection, **tested}
    try:
        return Evidence(**{name: arrays_here[name] for name in ARRAYS if name in arrays_here})
    except TypeError:
        raise DataError(
            f"'{folder / SELECTION_FILE}' lacks columns: run it again with --force."
        ) from None


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Write what `evidence_of` reads; samples from elsewhere are named by their index.

    Args:
        folder: Of the run; it must exist.
        evidence: Of the run.
    """
    named = evidence.arrays()
    tested = ("test_label", "predicted", "predicted_noisy_val")
    selection = {name: values for name, values in named.items() if name not in tested}
    selection["id"] = np.asarray([str(i) for i in evidence.index], dtype=object)
    if "clean_label" not in selection:  # a run writes the column even where nobody knows them
        selection["clean_label"] = np.full(len(evidence.index), None)
    _write(folder / SELECTION_FILE, selection)
    predictions = {name: named[name] for name in tested if name in named}
    if "test_label" in predictions:
        predictions["label"] = predictions.pop("test_label")
    if predictions:
        _write(folder / PREDICTIONS_FILE, predictions)


def _write(path: Path, columns: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    types = {"id": pa.string(), "clean_label": pa.int64()}
    arrays = {name: pa.array(values, types.get(name)) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), sink)
    write_atomic(path, bytes(sink.getvalue().to_pybytes()))


def _columns(path: Path) -> dict[str, Any]:
    """Return the numeric columns of a file, without those that hold nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = read_beside(path)
        if content is None:
            return {}
        # One thread: these files are small, and the leaderboard reads thousands of them.
        table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except RefusedError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"'{path}' is damaged: {error}. Repeat the run with --force, or export it with "
            "--no-evidence."
        ) from None
    return {
        name: table[name].to_numpy()
        for name in table.column_names
        if name != "id" and table[name].null_count == 0
    }
