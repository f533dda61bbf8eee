"""A table of file names and labels (CSV) as samples; labels are any text, each text a class."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np

from nlbench.audit.samples import Samples
from nlbench.data.file_contents import add_contents, digests, new_digest
from nlbench.data.file_images import CompactNames, FileImages
from nlbench.data.looks import common_range, looks_at, mostly_flat
from nlbench.errors import DataError
from nlbench.files import read_file, readable

SUFFIXES = (".csv", ".tsv", ".txt")
MOST_BYTES = 2**30

_FILE = ("file", "filename", "file_name", "path", "filepath", "file_path", "image", "image_path")
_LABEL = ("label", "labels", "class", "class_name", "category", "target")
_PART = ("part", "split")
_SHOWN = 3


def table_samples(path: Path) -> Samples:
    """Return the images that a table names, with the labels it gives them.

    Args:
        path: A ``.csv``, ``.tsv`` or ``.txt`` file with a header that names a column of files and
            one of labels (and, if it likes, one of parts, such as train and test). File names are
            relative to the table's folder, or absolute.

    Raises:
        DataError: if it has no such columns, names a file twice or one that is not there, leaves a
            label empty, or has fewer than two classes.
    """
    path = path.expanduser().absolute()
    rows = read_table(path)
    file, label, part = columns_of(path, list(rows[0]))
    names = [row[file] for row in rows]
    _check_names(path, names)
    labels = [row[label].strip() for row in rows]
    _check_labels(path, labels, names)
    root, files = path.parent, [os.path.normpath(name) for name in names]
    looks = looks_at(root, files)
    good = np.flatnonzero(looks["is_image"]).tolist()
    bad = [names[i] for i in np.flatnonzero(~looks["is_image"]).tolist()]
    kept = [labels[i] for i in good]
    classes = sorted(set(kept))
    if len(classes) < 2:
        raise DataError(
            f"table '{path}' must have at least 2 classes with images, got {len(classes)}: a label "
            "can be wrong only where there is another."
        )
    number = {name: i for i, name in enumerate(classes)}
    digest = new_digest("audit table")
    taken = [files[i] for i in good]
    add_contents(digest, taken, digests(root, taken))
    digest.update("\0".join(kept).encode())
    return Samples(
        name=readable(path.name),
        names=CompactNames(readable(names[i]) for i in good),
        labels=np.array([number[text] for text in kept], dtype=np.int64),
        class_names=tuple(classes),
        parts=[rows[i][part].strip() if part else "" for i in good],
        images=FileImages(root, CompactNames(taken), common_range(looks[good])),
        fingerprint=digest.hexdigest(),
        root=root,
        files=CompactNames(taken),
        label_file=path,
        unreadable=tuple(map(readable, bad)),
        warnings=tuple(filter(None, [mostly_flat(looks[good]["is_flat"])])),
    )


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table with a header; every row has every column.

    Raises:
        DataError: if it cannot be read, is empty, or a row has another number of cells.
    """
    try:
        text = read_file(path, MOST_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"table '{path}' does not exist. Check the path.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"table '{path}' cannot be read: {error}. Save it as UTF-8.") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"table '{path}' cannot be read: {error}. Look at its quotes.") from None
    lines = [line for line in lines if line]
    if len(lines) < 2:
        raise DataError(f"table '{path}' must have a header and rows, got {len(lines)} lines.")
    header = [title.strip() for title in lines[0]]
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise DataError(
                f"table '{path}' has {len(header)} columns in its header and {len(line)} in row "
                f"{number}: {line[:_SHOWN]}. Put names that hold a {delimiter!r} into quotes."
            )
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def columns_of(path: Path, header: list[str]) -> tuple[str, str, str]:
    """Return the columns of files, labels and parts; the last is empty where there is none."""
    plain = {title.lower().replace(" ", "_"): title for title in header}
    file, label, part = (
        next((plain[word] for word in words if word in plain), "")
        for words in (_FILE, _LABEL, _PART)
    )
    if not file or not label:
        raise DataError(
            f"table '{path}' must have the columns 'file' and 'label', got "
            f"{', '.join(map(repr, header[:10]))}. Write `file,label` as its first line."
        )
    return file, label, part


def _check_names(path: Path, names: list[str]) -> None:
    plain = [os.path.normpath(name) for name in names]
    if len(set(plain)) < len(plain):
        seen: set[str] = set()
        twice = [n for n in plain if n in seen or seen.add(n)]  # type: ignore[func-returns-value]
        raise DataError(
            f"table '{path}' must name each file once, got {len(twice)} names twice: "
            f"{', '.join(map(repr, twice[:_SHOWN]))}."
        )
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} files of table '{path}' are not there: "
            f"{', '.join(map(repr, missing[:_SHOWN]))}. Names are relative to the table's folder."
        )


def _check_labels(path: Path, labels: list[str], names: list[str]) -> None:
    empty = [name for label, name in zip(labels, names, strict=True) if not label]
    if empty:
        raise DataError(
            f"table '{path}' must give each file a label, got none for {len(empty)}: "
            f"{', '.join(map(repr, empty[:_SHOWN]))}. Remove these rows, or label them."
        )
