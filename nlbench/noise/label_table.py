"""A text file of labels as cells: its encoding, delimiter, header and columns; no meaning yet."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_DELIMITERS = "\t;,"
# Column names for the labels to use, beside a column of clean ones (as Chen et al. write them).
_NOISY = {"label_noisy", "noisy_label", "noisy_labels", "labels_noisy", "noisy"}
_CLEAN = {"label", "labels", "label_clean", "clean_label", "clean_labels", "true_label", "clean"}
_LABEL = {*_NOISY, "label", "labels", "class", "class_name", "class_id", "category", "target"}

Test = Callable[[str], bool]


@dataclass(frozen=True)
class LabelTable:
    """The cells of a label file, row by row.

    Attributes:
        labels: N cells.
        lines: N line numbers, for messages.
        names: N file names, None for a file without.
        clean: N cells of the clean labels, where the file has them too.
    """

    labels: list[str]
    lines: list[int]
    names: list[str] | None = None
    clean: list[str] | None = None


def read_label_table(path: Path, is_label: Test, is_sample: Test) -> LabelTable:
    """Return the cells of a ``.csv``, ``.tsv`` or ``.txt`` file of labels.

    One column of labels; or file names and labels; or clean and noisy labels under a header.
    UTF-8 or UTF-16; comma, semicolon, tab or spaces between columns; quotes; with or without a
    header.

    Args:
        path: The file.
        is_label: Tells a class id or class name.
        is_sample: Tells the name of a training sample.

    Raises:
        ValueError: with the reason, if it is not such a file.
    """
    lines = _text(path).splitlines()
    numbered = [(i, line) for i, line in enumerate(lines, start=1) if line.strip()]
    while numbered and numbered[0][1].lstrip().startswith("#"):
        del numbered[0]
    if not numbered:
        raise ValueError("it has no rows")
    rows = _cells([line for _, line in numbered], is_label)
    at = [number for number, _ in numbered]
    if len(rows) == 1 and len(rows[0]) > 1 and all(map(is_label, rows[0])):
        return LabelTable(rows[0], at * len(rows[0]))
    header = None if any(is_label(c) or is_sample(c) for c in rows[0]) else rows[0]
    if header is not None:
        rows, at = rows[1:], at[1:]
    if not rows:
        raise ValueError("it has a header and no rows")
    columns = [list(column) for column in zip(*rows, strict=True)]
    return _table(header, columns, at, is_label, is_sample)


def _text(path: Path) -> str:
    content = path.read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig")


def _cells(lines: Sequence[str], is_label: Test) -> list[list[str]]:
    """Return rows of equal width, by the delimiter that gives some."""
    ragged: list[list[str]] = []
    for delimiter in _DELIMITERS:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        ]
        widths = {len(row) for row in rows}
        if widths == {1}:
            continue
        if len(widths) == 1 and len(rows) == len(lines):
            return rows
        ragged = ragged or rows
    if ragged:
        width = len(ragged[0])
        other = next((row for row in ragged if len(row) != width), ragged[0])
        raise ValueError(f"its first row has {width} columns, another has {len(other)}: {other}")
    only = [row[0].strip() for row in csv.reader(lines)]
    if len(only) != len(lines):
        raise ValueError("a quote in it is opened and not closed")
    return _by_spaces(only, is_label)


def _by_spaces(lines: Sequence[str], is_label: Test) -> list[list[str]]:
    """Return one column, or the two of ``<path> <label>``: a path or class name may have spaces."""
    if len(lines) == 1 and all(map(is_label, lines[0].split())):
        return [lines[0].split()]
    if any(len(line.split()) == 1 for line in lines) or all(map(is_label, lines[1:] or lines)):
        return [[line] for line in lines]
    return [line.rsplit(None, 1) for line in lines]


def _table(
    header: list[str] | None,
    columns: list[list[str]],
    lines: list[int],
    is_label: Test,
    is_sample: Test,
) -> LabelTable:
    if len(columns) == 1:
        return LabelTable(columns[0], lines)
    if len(columns) > 2:
        raise ValueError(
            f"it must have the columns file and label, or only labels, got {len(columns)} columns: "
            f"{', '.join(header) if header else 'without a header'}. Remove the others"
        )
    titles = [title.lower().replace(" ", "_") for title in header or ["", ""]]
    if (clean := _position(titles, _CLEAN)) is not None and titles[1 - clean] in _NOISY:
        return LabelTable(columns[1 - clean], lines, clean=columns[clean])
    name = _name_column(titles, columns, is_label, is_sample)
    return LabelTable(columns[1 - name], lines, names=columns[name])


def _position(titles: Sequence[str], words: set[str]) -> int | None:
    return next((i for i, title in enumerate(titles) if title in words), None)


def _name_column(
    titles: Sequence[str], columns: Sequence[Sequence[str]], is_label: Test, is_sample: Test
) -> int:
    """Return which of two columns has the file names: most names of samples, else by its title."""
    first, second = (sum(map(is_sample, column)) for column in columns)
    if first != second:
        return int(second > first)
    label = _position(titles, _LABEL)
    if label is not None and titles[1 - label] not in _LABEL:
        return 1 - label
    only_labels = [all(map(is_label, column)) for column in columns]
    if all(only_labels):
        raise ValueError(
            "both of its columns are labels: name them `label` (clean) and `label_noisy` in a "
            "header, or write only one"
        )
    return 1 if only_labels[0] else 0
