"""Images in Parquet files, read a row group at a time."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nlbench.data.content_keys import Keys
from nlbench.data.decoding import as_batch, decode, true_size, warnings_name_the_image
from nlbench.data.file_contents import file_keys
from nlbench.data.file_images import required_size
from nlbench.data.file_memory import READERS
from nlbench.data.images import CENTRE, Fit, ImageSource
from nlbench.errors import DataError
from nlbench.files import readable


def is_binary(kind: Any) -> bool:
    """Return whether a type of Arrow holds bytes."""
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


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
            name = readable(group.file.name)
            yield from (f"{name}:{group.first + row}" for row in range(count))

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
        def one(row: int) -> npt.NDArray[np.uint8]:
            content, what = self._content(group, row)
            return decode(content, side, what, fit=fit)

        self._group(group)  # before the threads ask for it
        with warnings_name_the_image(), ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(one, rows))

    def content_keys(self) -> Keys:
        """Return what tells the same images, (N,); reads all of them.

        Raises:
            DataError: if a file cannot be read.
        """
        found: list[bytes] = []
        for group in range(len(self.groups)):
            # Arrow's buffers are views: no image is copied. One without bytes is refused by `load`.
            cells = (cell.as_buffer() for cell in self._group(group))
            found += [hashlib.sha256(b"" if cell is None else cell).digest() for cell in cells]
        return file_keys(found)

    def sizes(self, indices: Tensor) -> list[tuple[int, int]]:
        """Return width and height of these images as they were stored, turned upright.

        Raises:
            DataError: naming file and row, if an image cannot be read or decoded.
        """
        positions = indices.cpu().numpy()
        groups = np.searchsorted(self.starts, positions, side="right") - 1
        rows = positions - self.starts[groups]
        pairs = zip(groups.tolist(), rows.tolist(), strict=True)
        with warnings_name_the_image():
            return [true_size(*self._content(group, row)) for group, row in pairs]

    def content(self, position: int) -> io.BytesIO | None:
        """Return an image's file content; None where it has no bytes.

        Raises:
            DataError: if its row group cannot be read.
        """
        group = int(np.searchsorted(self.starts, position, side="right")) - 1
        found = self._group(group)[position - int(self.starts[group])].as_py()
        return io.BytesIO(found) if found else None

    def _content(self, group: int, row: int) -> tuple[io.BytesIO, str]:
        where = self.groups[group]
        what = f"{where.file}:{where.first + row}"
        content = self._group(group)[row].as_py()
        if not content:
            raise DataError(f"image '{what}' has no bytes. Store the images in the file.")
        return io.BytesIO(content), what

    def _group(self, group: int) -> Any:
        if group not in self._last:
            where = self.groups[group]
            self._last.clear()
            self._last[group] = read_parquet(
                where.file, lambda f: _bytes_of(f, where.number, self.column)
            )
        return self._last[group]


def parquet_images(files: Sequence[Path], column: str) -> ParquetImages:
    """Return the images of a column, in the order of the files; only their metadata is read."""
    groups: list[RowGroup] = []
    counts = [0]
    for file in files:
        metadata = read_parquet(file, lambda opened: opened.metadata)
        first = 0
        for number in range(metadata.num_row_groups):
            groups.append(RowGroup(file, number, first))
            counts.append(metadata.row_group(number).num_rows)
            first += counts[-1]
    return ParquetImages(column, np.cumsum(counts, dtype=np.int64), tuple(groups))


def _bytes_of(file: Any, group: int, column: str) -> Any:
    """Return the images' bytes in a row group, from a column of {bytes, path} or of bytes."""
    if is_binary(file.schema_arrow.field(column).type):
        return file.read_row_group(group, [column]).column(column)
    inner = f"{column}.bytes"
    return file.read_row_group(group, [inner]).flatten().column(inner)


def read_parquet(file: Path, what: Callable[[Any], Any]) -> Any:
    """Return what a function of an opened `ParquetFile` gives.

    Raises:
        DataError: if the file is damaged or lacks what is read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            return what(opened)
    except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"file '{file}' cannot be read: {error}. Download it again.") from error
