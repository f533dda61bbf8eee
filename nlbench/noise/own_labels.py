"""Labels of the user's own, brought into the order of the training samples by name or position."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbench.data.labels import checked_labels
from nlbench.errors import ConfigError, DataError
from nlbench.files import is_file
from nlbench.noise.array_files import read_array
from nlbench.noise.class_words import ClassWords
from nlbench.noise.label_table import LabelTable, read_label_table
from nlbench.noise.labels import Labels
from nlbench.noise.sample_names import NO_SAMPLE, SEVERAL, SampleNames

_TEXT_FILES = (".csv", ".tsv", ".txt")
_SHOWN = 3

log = logging.getLogger("nlbench")


@dataclass(frozen=True, eq=False)
class TrainingSamples:
    """The samples that labels are for.

    Attributes:
        clean: (N,) clean labels.
        n_classes: K.
        names: N names; None where they are not known.
        class_names: K names; None where they are not known.
        subset: (M,) bool, which of the M published samples are here; None for all of them.
        ignore_other_names: Pass over names that no training sample has.
    """

    clean: Labels
    n_classes: int
    names: Sequence[str] | None = None
    class_names: Sequence[str] | None = None
    subset: npt.NDArray[np.bool_] | None = None
    ignore_other_names: bool = False

    @cached_property
    def by_name(self) -> SampleNames:
        """Finds a sample by its name."""
        return SampleNames(self.names or ())

    @cached_property
    def words(self) -> ClassWords:
        """Reads a class id or class name."""
        return ClassWords(self.n_classes, self.class_names)


def own_labels(source: Any, samples: TrainingSamples) -> Labels:
    """Return (N,) labels in the order of the training samples.

    Args:
        source: N class ids or class names, a mapping from file name to either, or a file of these.
        samples: What they are for.

    Raises:
        ConfigError: if nothing is named, or names come without the names of the samples.
        DataError: if a file is missing or damaged, or does not fit the training samples.
    """
    from_file = isinstance(source, str | Path)
    what = f"`labels` file '{source}'" if from_file else "`labels`"
    if from_file and Path(source).suffix.lower() in _TEXT_FILES:
        return _labels_of(what, _table(what, Path(source).expanduser(), samples), samples)
    content = source if isinstance(source, Mapping) else read_array("labels", source, np.int64)
    if not isinstance(content, Mapping) and content.ndim == 0:
        content = content.item()
    if isinstance(content, Mapping) and content:
        names, cells = (list(map(str, part)) for part in zip(*content.items(), strict=True))
        return _labels_of(what, LabelTable(cells, _rows(cells), names), samples)
    labels = checked_labels("labels", content, samples.n_classes, samples.class_names)
    return _by_position(labels, samples)


def _rows(cells: Sequence[Any]) -> list[int]:
    return list(range(1, len(cells) + 1))


def _table(what: str, file: Path, samples: TrainingSamples) -> LabelTable:
    if not is_file(file):
        raise DataError(f"{what} does not exist. Check the path.")
    try:
        return read_label_table(
            file, samples.words.is_label, lambda name: samples.by_name.find(name) != NO_SAMPLE
        )
    except (ValueError, OSError, csv.Error) as error:
        raise DataError(f"{what} cannot be read: {error}.") from None


def _labels_of(what: str, table: LabelTable, samples: TrainingSamples) -> Labels:
    if table.names is not None:
        return _by_name(what, table, table.names, samples)
    labels = _by_position(samples.words.ids(what, table.labels, table.lines), samples)
    if table.clean is not None:
        theirs = _by_position(samples.words.ids(what, table.clean, table.lines), samples)
        differ = int((theirs != samples.clean).sum())
        if differ:
            raise DataError(
                f"{what} belongs to other data or another order: its clean labels differ from "
                f"those of the data set in {differ} of {len(theirs)} samples, first at index "
                f"{int((theirs != samples.clean).argmax())}."
            )
    return labels


def _by_position(labels: Labels, samples: TrainingSamples) -> Labels:
    n, subset = len(samples.clean), samples.subset
    if len(labels) == n:
        return labels
    if subset is not None and len(labels) == len(subset):
        return labels[subset]
    raise DataError(
        f"`labels` must have one label for each of the {n} training samples, "
        f"got {len(labels)}. Check that the file belongs to this data set and split, or write "
        "`file,label` in each row to match by name."
    )


def _by_name(
    what: str, table: LabelTable, names: Sequence[str], samples: TrainingSamples
) -> Labels:
    if samples.names is None:
        raise ConfigError(
            f"{what} has file names, and those of the training samples are unknown: pass "
            "corrupt(..., sample_names=NAMES), or labels without names, in the samples' order."
        )
    positions = [samples.by_name.find(name) for name in names]
    rows = [i for i, at in enumerate(positions) if at != NO_SAMPLE]
    if samples.ignore_other_names and rows:
        names, positions = [names[i] for i in rows], [positions[i] for i in rows]
        table = LabelTable([table.labels[i] for i in rows], [table.lines[i] for i in rows])
    _check_names(what, names, positions, samples.names)
    labels = np.empty(len(samples.clean), dtype=np.int64)
    labels[positions] = samples.words.ids(what, table.labels, table.lines)
    first = [f"{samples.names[i]}: {labels[i]}" for i in range(min(_SHOWN, len(labels)))]
    log.info("%s is matched by file name: %s, ...", what, ", ".join(first))
    return labels


def _check_names(
    what: str, names: Sequence[str], positions: Sequence[int], own: Sequence[str]
) -> None:
    times = Counter(positions)
    problems = [
        _listed("name", "of no training sample", _of(names, positions, NO_SAMPLE)),
        _listed("name", "of several (write the folder too)", _of(names, positions, SEVERAL)),
        _listed(
            "sample", "named more than once", [own[i] for i, n in times.items() if i >= 0 and n > 1]
        ),
        _listed("sample", "not named", [own[i] for i in range(len(own)) if i not in times]),
    ]
    if any(problems):
        ignore = (
            " Names of other images, such as test images, are passed over with "
            "--set noise.other_names=ignore."
            if NO_SAMPLE in times and len(times) > 1
            else ""
        )
        raise DataError(
            f"{what} must name each of the {len(own)} training samples once, got "
            f"{'; '.join(filter(None, problems))}. They are named like {own[0]!r}; the end of a "
            f"path is enough where it is unique.{ignore}"
        )


def _of(names: Sequence[str], positions: Sequence[int], kind: int) -> list[str]:
    return [name for name, at in zip(names, positions, strict=True) if at == kind]


def _listed(noun: str, rest: str, names: Iterable[str]) -> str:
    every = list(names)
    if not every:
        return ""
    more = ", ..." if len(every) > _SHOWN else ""
    count = f"{len(every)} {noun}{'s' if len(every) > 1 else ''} {rest}"
    return f"{count}: {', '.join(map(repr, every[:_SHOWN]))}{more}"
