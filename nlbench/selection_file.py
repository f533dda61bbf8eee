"""A run's selection as a file: one row per training sample, for people and for later."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from nlbench.data.image_data import ImageData
from nlbench.results import write_atomic
from nlbench.selector import Selection


class SelectedSamples(Protocol):
    """What the file is written from."""

    data: ImageData
    fit: Tensor
    selection: Selection
    noisy_labels: Tensor
    clean_labels: Tensor | None


def write_selection(folder: Path, run: SelectedSamples) -> Path:
    """Write ``selection.parquet``: index, id, noisy_label, clean_label, score, keep.

    ``clean_label`` is null where the clean labels are not known.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    positions = run.fit.tolist()
    truth = run.clean_labels
    clean = pa.nulls(len(positions), pa.int64()) if truth is None else pa.array(truth.cpu().numpy())
    columns = {
        "index": pa.array(positions, pa.int64()),
        "id": pa.array([run.data.train_ids[i] for i in positions], pa.string()),
        "noisy_label": pa.array(run.noisy_labels.cpu().numpy()),
        "clean_label": clean,
        "score": pa.array(run.selection.score.float().cpu().numpy()),
        "keep": pa.array(run.selection.keep.cpu().numpy()),
    }
    if run.selection.labels is not None:
        columns["corrected_label"] = pa.array(run.selection.labels.cpu().numpy())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    path = folder / "selection.parquet"
    write_atomic(path, buffer.getvalue())
    return path


@dataclass(frozen=True)
class Suspect:
    """A sample whose label the selector trusts little."""

    id: str
    label: int
    score: float
    keep: bool


def least_trusted(folder: Path, n: int) -> list[Suspect]:
    """Give the n samples with the lowest scores, lowest first; none where no file was written."""
    import pyarrow.parquet as pq

    path = folder / "selection.parquet"
    if not path.is_file():
        return []
    table = pq.read_table(path, columns=["id", "noisy_label", "score", "keep"])
    rows = table.sort_by("score").slice(0, n).to_pylist()
    return [Suspect(r["id"], r["noisy_label"], r["score"], r["keep"]) for r in rows]
