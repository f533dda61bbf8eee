"""parquet: images and labels in Parquet files, as Hugging Face stores data sets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nlbench.data.decoding import as_batch, decode, warnings_name_the_image
from nlbench.data.file_contents import contents_sha256, new_digest
from nlbench.data.file_images import READERS, CompactNames, required_size
from nlbench.data.image_data import Dataset, ImageData
from nlbench.data.images import CENTRE, Fit, ImageSource
from nlbench.errors import ConfigError, DataError, did_you_mean

TEST_PARTS = ("test", "validation")

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parquet(Dataset):
    """Images in Parquet files: PATH/train*.parquet, and PATH/test*.parquet or validation*.parquet.

    Attributes:
        path: The folder, absolute or relative to ``--data-dir``.
        image_column: Column of {bytes, path}; by default the only one of that shape.
        label_column: Column of whole numbers from 0; by default "label" or the only one there is.
        labels_are_clean: Whether the training labels are the truth. False for a data set that is
            noisy by itself: no noise is added, and nothing is measured against these labels.
    """

    version: ClassVar[int] = 1

    path: str = ""
    image_column: str = ""
    label_column: str = ""
    labels_are_clean: bool = True

    origin: ClassVar[str] = "your own, or a data set of the Hugging Face hub that you downloaded"
    size: ClassVar[str] = "yours"
    where: ClassVar[str] = "PATH, absolute or under DIR"
    download_note: ClassVar[str] = "none needed"
    how_to_get: ClassVar[str] = (
        "put train*.parquet and test*.parquet (or validation*.parquet) into PATH or PATH/data and "
        "name it as `--dataset parquet:PATH`"
    )
    recipe: ClassVar[str] = "standard/parquet"
    takes_path: ClassVar[bool] = True

    def load(self, data_dir: Path | None) -> ImageData:
        """Read the labels; the images are read when they are asked for."""
        root = self._root(data_dir)
        train_files, test_files, test_name = self._files(root)
        image, label, names = self._columns(train_files[0])
        parts = [_read_labels(files, label) for files in (train_files, test_files)]
        n_classes = len(names) or max(int(part.max()) for part in parts) + 1
        for files, part in zip((train_files, test_files), parts, strict=True):
            check_range(files[0], label, part, n_classes)
        sources = [_images(files, image) for files in (train_files, test_files)]
        return ImageData(
            name=f"parquet:{root.name}",
            class_names=tuple(names or map(str, range(n_classes))),
            train_images=sources[0],
            train_labels=parts[0],
            train_ids=CompactNames(sources[0].names()),
            test_images=sources[1],
            test_labels=parts[1],
            fingerprint=_fingerprint([*train_files, *test_files], image, parts),
            split=f"train and {test_name} as given",
            labels_are_clean=self.labels_are_clean,
        )

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Return a hash of the names and contents of the files."""
        train, test, _ = self._files(self._root(data_dir))
        return {"content_sha256": _contents([*train, *test])}

    def _root(self, data_dir: Path | None) -> Path:
        if not self.path:
            raise DataError(f"data set 'parquet' needs a path: {self.how_to_get}.")
        root = ((data_dir or Path()) / Path(self.path).expanduser()).absolute()
        if not root.is_dir():
            raise DataError(f"folder '{root}' is not there: {self.how_to_get}.")
        return root

    def _files(self, root: Path) -> tuple[list[Path], list[Path], str]:
        folder = root if any(root.glob("*.parquet")) else root / "data"
        parts = {p: sorted(folder.glob(f"{p}*.parquet")) for p in ("train", *TEST_PARTS)}
        test = next((part for part in TEST_PARTS if parts[part]), "")
        if not parts["train"] or not test:
            raise DataError(
                f"folder '{root}' needs train*.parquet and test*.parquet or validation*.parquet, "
                f"it has {sum(map(len, parts.values()))} such files: {self.how_to_get}."
            )
        return parts["train"], parts[test], test

    def _columns(self, file: Path) -> tuple[str, str, list[str]]:
        """Return the image column, the label column and the class names, if there are any."""
        import pyarrow as pa

        schema = _read(file, lambda opened: opened.schema_arrow)
        images = [
            f.name
            for f in schema
            if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0
        ]
        labels = [f.name for f in schema if pa.types.is_integer(f.type)]
        image = chosen_column("image_column", self.image_column, images, file)
        preferred = ["label"] if "label" in labels else labels
        label = chosen_column("label_column", self.label_column, preferred, file, labels)
        return image, label, _class_names(schema, label)


class RowGroup(NamedTuple):
    """A row group: its file, its number there, and the row in the file that it begins with."""

    file: Path
    number: int
    first: int


@dataclass(frozen=True, eq=False)
class ParquetImages(ImageSource):
    """Images in Parquet files; one row group at a time is in memory.

    Attributes:
        starts: (G + 1,) position of each row group's first image, and their number.
        groups: The G row groups in order.
    """

    column: str
    starts: npt.NDArray[np.int64]
    groups: tuple[RowGroup, ...]
    _last: dict[int, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def names(self) -> Iterator[str]:
        """Return FILE:ROW for every image."""
        for group, count in zip(self.groups, np.diff(self.starts).tolist(), strict=True):
            yield from (f"{group.file.name}:{group.first + row}" for row in range(count))

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Return uint8 RGB images (B, 3, size, size).

        Raises:
            DataError: naming file and row, if an image cannot be read or decoded.
        """
        side = required_size(size)
        positions = indices.cpu().numpy()
        groups = np.searchsorted(self.starts, positions, side="right") - 1
        images: dict[int, npt.NDArray[np.uint8]] = {}
        for group in np.unique(groups).tolist():
            mine = np.flatnonzero(groups == group)
            rows = (positions[mine] - self.starts[group]).tolist()
            images |= zip(mine.tolist(), self._decoded(group, rows, side, fit), strict=True)
        return as_batch([images[i] for i in range(len(positions))], side)

    def _decoded(
        self, group: int, rows: Sequence[int], side: int, fit: Fit
    ) -> list[npt.NDArray[np.uint8]]:
        values, where = self._group(group), self.groups[group]

        def one(row: int) -> npt.NDArray[np.uint8]:
            what = f"{where.file}:{where.first + row}"
            content = values[row].as_py()
            if not content:
                raise DataError(f"image '{what}' has no bytes. Store the images in the file.")
            return decode(io.BytesIO(content), side, what, fit=fit)

        with warnings_name_the_image(), ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(one, rows))

    def _group(self, group: int) -> Any:
        if group not in self._last:
            where, columns = self.groups[group], [f"{self.column}.bytes"]
            self._last.clear()
            self._last[group] = _read(
                where.file,
                lambda f: f.read_row_group(where.number, columns).flatten().column(columns[0]),
            )
        return self._last[group]


def _images(files: Sequence[Path], column: str) -> ParquetImages:
    groups: list[RowGroup] = []
    counts = [0]
    for file in files:
        metadata = _read(file, lambda opened: opened.metadata)
        first = 0
        for number in range(metadata.num_row_groups):
            groups.append(RowGroup(file, number, first))
            counts.append(metadata.row_group(number).num_rows)
            first += counts[-1]
    return ParquetImages(column, np.cumsum(counts, dtype=np.int64), tuple(groups))


def _read(file: Path, what: Callable[[Any], Any]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            return what(opened)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DataError(f"file '{file}' cannot be read: {error}. Get it anew.") from error


def _read_labels(files: Sequence[Path], column: str) -> Labels:
    parts = []
    for file in files:
        values = _read(file, lambda f: f.read([column]).column(column).cast("int64"))
        if values.null_count:
            raise DataError(f"{values.null_count} labels in '{file}' are missing. Remove the rows.")
        parts.append(values.to_numpy())
    labels: Labels = np.concatenate(parts)
    if not len(labels):
        raise DataError(f"file '{files[0]}' holds no images. Get it anew.")
    return labels


def check_range(file: Path | str, column: str, labels: Labels, n_classes: int) -> None:
    """Check that labels are in range and that there are classes to tell apart.

    Raises:
        DataError: naming the first wrong rows and their number.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if n_classes < 2 or len(wrong):
        entries = ", ".join(f"row {i}: {labels[i]}" for i in wrong[:3].tolist())
        raise DataError(
            f"column {column!r} of '{file}' must hold labels in [0, {n_classes}) of at least 2 "
            f"classes, {len(wrong)} are not: {entries or 'there is one class'}. "
            "Rows without a label must be removed."
        )


def chosen_column(
    setting: str, wanted: str, found: Sequence[str], file: Path | str, known: Sequence[str] = ()
) -> str:
    """Return the column that a setting names, else the only one that could be meant.

    Args:
        setting: Its name.
        wanted: Its value, empty for the only one.
        found: Columns that could be meant.
        file: Where, for messages.
        known: Columns that may be named; those found where left out.

    Raises:
        ConfigError: naming the columns.
    """
    known = known or found
    if wanted:
        if wanted in known:
            return wanted
        hint = did_you_mean(wanted, known)
        raise ConfigError(f"setting {setting!r}: '{file}' has no such column {wanted!r}. {hint}")
    if len(found) == 1:
        return found[0]
    raise ConfigError(
        f"'{file}' has {len(found)} columns that could be the {setting.replace('_', ' ')}: "
        f"{', '.join(found) or 'none'}. Give one with --set data.{setting}=NAME."
    )


def _class_names(schema: Any, label: str) -> list[str]:
    """Return the names that the Hugging Face library wrote into the file, or none."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        names = described["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _contents(files: Sequence[Path]) -> str:
    return contents_sha256(files[0].parent, [file.name for file in files])


def _fingerprint(files: Sequence[Path], image: str, parts: Sequence[Labels]) -> str:
    """Hash names and contents of the files, and all labels."""
    digest = new_digest(f"{image}\0{_contents(files)}")
    for part in parts:
        digest.update(part.astype("<i8").tobytes() + b"\0")
    return digest.hexdigest()
