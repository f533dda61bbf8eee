"""Columns and labels of tables (Parquet, Hugging Face), compared between parts and files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nlbench.errors import ConfigError, DataError, did_you_mean
from nlbench.files import readable

LABELS_ARE = "whole numbers from 0, text, or the library's ClassLabel"
IMAGES_ARE = "an encoded image per row: its bytes, or the library's Image, {bytes, path}"

_SHARD = re.compile(r"(.*?)-?(\d{5})-of-(\d{5})(\.\w+)?$")
_SHOWN = 3

Labels = npt.NDArray[np.int64]


class Column(NamedTuple):
    """The label column of a file or split.

    Attributes:
        where: The file or split, for messages.
        values: (N,) int64, or text as objects.
        names: Of the classes that whole numbers stand for; empty where it is not said.
    """

    where: str
    values: npt.NDArray[np.int64] | npt.NDArray[np.object_]
    names: tuple[str, ...]


def check_shards(files: Sequence[str], folder: str) -> None:
    """Check that no shard of ``NAME-00000-of-00003`` is missing or of another set.

    Args:
        files: Names of the files of one part.
        folder: Where they are, for messages.

    Raises:
        DataError: naming the first missing shards, or the numbers that do not fit together.
    """
    matches = [m for m in map(_SHARD.match, files) if m]
    totals = {int(m[3]) for m in matches}
    if len(totals) > 1 or (matches and len(matches) != len(files)):
        raise DataError(
            f"'{folder}' mixes files of several sets: {', '.join(files[:_SHOWN])}, ... "
            "Keep the files of one set."
        )
    for total in totals:
        numbers = {int(m[2]) for m in matches}
        missing = [number for number in range(total) if number not in numbers]
        if missing:
            stem = matches[0][1]
            named = [f"{stem}-{n:05d}-of-{total:05d}" for n in missing[:_SHOWN]]
            raise DataError(
                f"{len(missing)} of {total} files are missing in '{folder}': {', '.join(named)}"
                f"{', ...' if len(missing) > _SHOWN else ''}. Download them too."
            )


def chosen_column(
    setting: str, name: str, candidates: Sequence[str], types: Mapping[str, str], where: str,
    accepted: Sequence[str] = (),
) -> str:  # fmt: skip
    """Return the column that a setting names, else the only one that could be meant.

    Args:
        setting: Such as ``label_column``.
        name: Its value, empty for the only one.
        candidates: Columns that could be meant.
        types: Type of every column.
        where: The file or data set, for messages.
        accepted: Columns that may be named; the candidates where left out.

    Raises:
        ConfigError: naming the columns, their types and what is accepted.
    """
    accepted = accepted or candidates
    what, rule = setting.replace("_", " "), LABELS_ARE if "label" in setting else IMAGES_ARE
    every = ", ".join(f"{column} ({kind})" for column, kind in types.items())
    if name in accepted:
        return name
    if name in types:
        raise ConfigError(
            f"setting {setting!r}: column {name!r} of '{where}' must contain {rule}, "
            f"it is of type {types[name]}. The columns are: {every}."
        )
    if name:
        hint = did_you_mean(name, types)
        raise ConfigError(f"setting {setting!r}: '{where}' has no such column {name!r}. {hint}")
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise ConfigError(
            f"'{where}' has {len(candidates)} columns that could be the {what}: "
            f"{', '.join(candidates)}. Give one with --set data.{setting}=NAME."
        )
    raise ConfigError(
        f"'{where}' has no column that could be the {what}. It must contain {rule}; columns: "
        f"{every}. Store such a column, or choose another with --set data.{setting}=NAME."
    )


def class_labels(
    parts: Sequence[Sequence[Column]], column: str
) -> tuple[tuple[str, ...], list[Labels]]:
    """Return the class names, and the labels of each part as positions among them.

    Names count, not numbers: where files name their classes in another order, their labels follow.
    Without names the different numbers that are there are the classes, so that labels from 1 to K
    are K classes.

    Args:
        parts: Training and test part, each of one or more files.
        column: Name of the label column, for messages.

    Raises:
        DataError: if labels are missing, out of range or of a class that training has not.
    """
    every = [one for part in parts for one in part]
    odd = [one.where for one in every if one.values.dtype != every[0].values.dtype]
    if odd:
        kinds = ("text", "numbers") if every[0].values.dtype == object else ("numbers", "text")
        raise DataError(
            f"column {column!r} holds {kinds[0]} in '{every[0].where}' and {kinds[1]} in "
            f"{', '.join(map(repr, odd[:_SHOWN]))}. Store one kind in all files."
        )
    if every[0].names:
        names = every[0].names
        mapped = [[_by_name(one, names, column) for one in part] for part in parts]
    elif every[0].values.dtype == object:
        names = tuple(sorted({text for one in parts[0] for text in one.values.tolist()}))
        mapped = [[_numbered(one, names, column) for one in part] for part in parts]
    else:
        for one in every:
            _check_range(one, None, column)
        values = np.unique(np.concatenate([one.values for one in every]).astype(np.int64))
        names = tuple(map(str, values.tolist()))
        mapped = [
            [np.searchsorted(values, one.values.astype(np.int64)) for one in part] for part in parts
        ]
    if len(names) < 2:
        raise DataError(
            f"column {column!r} of '{every[0].where}' must contain labels of at least 2 classes, "
            f"got {len(names)}. Name another column with --set data.label_column=NAME."
        )
    labels = [np.concatenate(part).astype(np.int64) for part in mapped]
    return tuple(readable(name) for name in names), labels


def _by_name(one: Column, names: tuple[str, ...], column: str) -> Labels:
    """Return labels as positions in `names`, whatever order the file has them in."""
    own = one.names or names
    _check_range(one, len(own), column)
    values = one.values.astype(np.int64)
    if own == names:
        return values
    strange = sorted({own[value] for value in np.unique(values).tolist()} - set(names))
    if strange:
        raise DataError(
            f"'{one.where}' has labels of classes that the first training file does not name: "
            f"{', '.join(strange[:_SHOWN])}. Use the same class names in all files."
        )
    position = {name: i for i, name in enumerate(names)}
    return np.array([position.get(name, -1) for name in own], dtype=np.int64)[values]


def _numbered(one: Column, names: tuple[str, ...], column: str) -> Labels:
    position = {name: i for i, name in enumerate(names)}
    strange = sorted(set(one.values.tolist()) - set(names))
    if strange:
        raise DataError(
            f"column {column!r} of '{one.where}' has classes that training has not: "
            f"{', '.join(map(readable, strange[:_SHOWN]))}. Use the same class names in both."
        )
    return np.array([position[text] for text in one.values.tolist()], dtype=np.int64)


def _check_range(one: Column, n_classes: int | None, column: str) -> None:
    """Refuse labels that are no class, which is how many sets mark a test part without labels."""
    values = one.values.astype(np.int64)
    wrong = np.flatnonzero((values < 0) | (values >= (2**62 if n_classes is None else n_classes)))
    if not len(wrong):
        return
    entries = ", ".join(f"row {i}: {values[i]}" for i in wrong[:_SHOWN].tolist())
    bounds = "0 or more" if n_classes is None else f"in [0, {n_classes})"
    raise DataError(
        f"labels in column {column!r} of '{one.where}' must be {bounds}, {len(wrong)} are not: "
        f"{entries}. {WITHOUT_LABELS}"
    )


WITHOUT_LABELS = (
    "If this part has no labels, use another one with --set data.test_split=NAME (such as "
    "validation); else remove these rows."
)
"""What to do where labels are missing."""


def refuse_missing(n_missing: int, n_rows: int, where: str, column: str) -> None:
    """Refuse rows without a label.

    Raises:
        DataError: if there are any.
    """
    if n_missing:
        raise DataError(
            f"{n_missing} of {n_rows} labels in column {column!r} of '{where}' are missing (null). "
            f"{WITHOUT_LABELS}"
        )
