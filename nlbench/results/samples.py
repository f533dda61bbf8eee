"""What a run decided, sample by sample, as files: for people, and to recompute its metrics."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlbench.errors import DataError, RefusedError, refusals, text_of
from nlbench.files import readable, write_atomic
from nlbench.results.digests import read_beside

# The leaderboard reads these files and has no use for torch.
if TYPE_CHECKING:
    from torch import Tensor

    from nlbench.data.images import StoredImages
    from nlbench.selector import Selection
    from nlbench.training.task import TrainingOutcome


SELECTION_FILE = "selection.parquet"
PREDICTIONS_FILE = "predictions.parquet"


@dataclass(frozen=True, eq=False)
class SelectedSamples:
    """The samples that a selector saw, and its last answer to them.

    Attributes:
        ids: Names of all training samples of the data set, for people.
        positions: (F,) which of them the selector saw.
        images: (F, ...) their images.
        noisy_labels: (F,).
        clean_labels: (F,), None where nobody knows them.
        selection: Of these F samples.
    """

    ids: Sequence[str]
    positions: Tensor
    images: StoredImages
    noisy_labels: Tensor
    clean_labels: Tensor | None
    selection: Selection


def write_selection(folder: Path, samples: SelectedSamples) -> Path:
    """Write ``selection.parquet``: index, id, noisy_label, clean_label, score, keep.

    ``clean_label`` is null where the clean labels are not known.
    """
    import pyarrow as pa

    positions, selection = samples.positions.tolist(), samples.selection
    truth = samples.clean_labels
    clean = pa.nulls(len(positions), pa.int64()) if truth is None else pa.array(truth.cpu().numpy())
    columns = {
        "index": pa.array(positions, pa.int64()),
        "id": pa.array([readable(samples.ids[i]) for i in positions], pa.string()),
        "noisy_label": pa.array(samples.noisy_labels.cpu().numpy()),
        "clean_label": clean,
        "score": pa.array(_exact(selection.score)),
        "keep": pa.array(selection.keep.cpu().numpy()),
    }
    if selection.labels is not None:
        columns["corrected_label"] = pa.array(selection.labels.cpu().numpy())
    return _write(folder / SELECTION_FILE, columns)


def write_predictions(folder: Path, test_labels: Tensor, outcome: TrainingOutcome) -> Path:
    """Write ``predictions.parquet``: label and predicted class of every test sample.

    ``predicted`` is of the last epoch, ``predicted_noisy_val`` of the epoch that the noisy
    validation part chose; the latter is missing where nothing was held out.
    """
    import pyarrow as pa

    columns = {
        "label": pa.array(test_labels.cpu().numpy()),
        "predicted": pa.array(outcome.test_predictions.cpu().numpy()),
    }
    if outcome.test_predictions_noisy_val is not None:
        columns["predicted_noisy_val"] = pa.array(outcome.test_predictions_noisy_val.cpu().numpy())
    return _write(folder / PREDICTIONS_FILE, columns)


def _exact(score: Tensor) -> Any:
    import torch

    # The ranking metrics were measured on these very numbers; numpy has no bfloat16.
    kept = score if score.dtype == torch.float64 else score.float()
    return kept.cpu().numpy()


def _write(path: Path, columns: dict[str, Any]) -> Path:
    """Write a file and read it back: its run has no result without it.

    Raises:
        DataError: if something else is read than was written.
        RefusedError: if the operating system does not take it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, buffer = pa.table(columns), io.BytesIO()
    pq.write_table(table, buffer)
    write_atomic(path, buffer.getvalue())
    with refusals(path, "read"):
        content = path.read_bytes()
    if content != buffer.getvalue() or not pq.read_table(pa.BufferReader(content)).equals(table):
        raise DataError(f"'{path}' cannot be read back as it was written. Check the disk.")
    return path


@dataclass(frozen=True)
class Suspect:
    """A sample whose label the selector trusts little."""

    id: str
    label: int
    score: float
    keep: bool


def least_trusted(folder: Path, n: int) -> list[Suspect]:
    """Return the n samples with the lowest scores, lowest first; none where no file was written.

    Raises:
        DataError: if the file is damaged.
        RefusedError: if the operating system does not let us read it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / SELECTION_FILE
    try:
        content = read_beside(path)
        if content is None:
            return []
        columns = ["id", "noisy_label", "score", "keep"]
        table = pq.read_table(pa.BufferReader(content), columns=columns)
        rows = table.sort_by("score").slice(0, n).to_pylist()
        return [Suspect(r["id"], r["noisy_label"], r["score"], r["keep"]) for r in rows]
    except RefusedError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        text = text_of(error, limit=200).partition("\n")[0]
        raise DataError(f"'{path}' is damaged: {text}. Repeat the run with --force.") from None
