"""CIFAR on disk: the parquet files of Hugging Face, or the folder that torchvision downloads.

The parquet files hold encoded images and are read without pickle. torchvision's files are pickles
of the data set's authors; torchvision compares their MD5 sums before it opens them, and refuses
any other.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from nlbench.data.download import fetch
from nlbench.errors import DataError

SIDE = 32
Part = Literal["train", "test"]
Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("fine_label", "label")


class CifarFiles(Protocol):
    """One layout on disk."""

    @property
    def files(self) -> Sequence[Path]:
        """Every file that is read."""

    def labels(self, part: Part) -> Labels:
        """Return (N,) class ids in the published order."""

    def images(self, part: Part, rows: Labels) -> Pixels:
        """Return uint8 (B, 3, 32, 32) at positions in the published order."""


def find_files(name: str, data_dir: Path) -> ParquetFiles | TorchvisionFiles | None:
    """Return what lies under ``data_dir``, parquet before torchvision's; None where nothing does.

    Raises:
        DataError: if it is there in part.
    """
    root = data_dir / name
    parts = {part: tuple(sorted(root.rglob(f"{part}-*.parquet"))) for part in ("train", "test")}
    if any(parts.values()):
        for part, files in parts.items():
            _check_shards(root, part, files)
        return ParquetFiles(parts["train"], parts["test"])
    folder = _torchvision_class(name).base_folder
    for place in (data_dir, root):
        if (place / folder).is_dir():
            return TorchvisionFiles(name, place)
    return None


def download(name: str, data_dir: Path) -> TorchvisionFiles:
    """Fetch into ``data_dir`` what is missing or damaged; torchvision unpacks and checks it.

    A download that was cut off goes on where it stopped.

    Raises:
        DataError: if the server cannot be reached or sends something else.
    """
    cls = _torchvision_class(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tarfile, on how torchvision calls it
            if not _is_whole(cls, data_dir):
                fetch(cls.url, data_dir / cls.filename, cls.tgz_md5)
            cls(root=str(data_dir), train=True, download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"data set {name!r} cannot be downloaded from {cls.url} to '{data_dir}': {error}. "
            f"Download it by other means and unpack it there: it must contain {cls.base_folder}/."
        ) from None
    return TorchvisionFiles(name, data_dir)


def _is_whole(cls: Any, data_dir: Path) -> bool:
    try:
        cls(root=str(data_dir), train=True, download=False)
    except RuntimeError:  # how torchvision says that files are missing or damaged
        return False
    return True


@dataclass(frozen=True)
class ParquetFiles:
    """Hugging Face's layout: an image column {bytes, path} and a label column."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]

    @property
    def files(self) -> Sequence[Path]:
        """Every file that is read."""
        return (*self.train, *self.test)

    def labels(self, part: Part) -> Labels:
        """Return (N,) class ids in the published order."""
        columns = [_column(file, _LABEL_COLUMNS) for file in self._of(part)]
        try:
            return np.concatenate([c.to_numpy(zero_copy_only=False) for c in columns]).astype(
                np.int64, casting="safe"
            )
        except (TypeError, ValueError) as error:
            raise DataError(
                f"the labels in '{self._of(part)[0]}' must be whole numbers: {error}. "
                "Download the file again."
            ) from None

    def images(self, part: Part, rows: Labels) -> Pixels:
        """Decode images, file by file.

        Raises:
            DataError: naming file, row and inner path, if one cannot be decoded.
        """
        sorted_rows, out, start = np.sort(rows), [], 0
        for file in self._of(part):
            column = _column(file, _IMAGE_COLUMNS)
            here = sorted_rows[(sorted_rows >= start) & (sorted_rows < start + len(column))] - start
            out += [_decode(file, row, column[row].as_py()) for row in here.tolist()]
            start += len(column)
        back = np.empty_like(rows)
        back[np.argsort(rows, kind="stable")] = np.arange(len(rows))
        return np.stack(out).transpose(0, 3, 1, 2)[back]

    def _of(self, part: Part) -> tuple[Path, ...]:
        return self.train if part == "train" else self.test


@dataclass(frozen=True)
class TorchvisionFiles:
    """torchvision's layout: ``cifar-10-batches-py`` or ``cifar-100-python`` under `root`."""

    name: str
    root: Path
    _read: dict[Part, tuple[Pixels, Labels]] = field(default_factory=dict, repr=False)

    @property
    def files(self) -> Sequence[Path]:
        """Every file that is read."""
        cls = _torchvision_class(self.name)
        names = [entry[0] for entry in (*cls.train_list, *cls.test_list)]
        folder = self.root / cls.base_folder
        return [folder / name for name in names if (folder / name).is_file()]

    def labels(self, part: Part) -> Labels:
        """Return (N,) class ids in the published order."""
        return self._part(part)[1]

    def images(self, part: Part, rows: Labels) -> Pixels:
        """Return uint8 images (B, 3, 32, 32)."""
        return self._part(part)[0][rows].transpose(0, 3, 1, 2)

    def _part(self, part: Part) -> tuple[Pixels, Labels]:
        if part not in self._read:
            self._read[part] = _torchvision_part(self.name, self.root, part)
        return self._read[part]


def _torchvision_class(name: str) -> Any:
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _torchvision_part(name: str, root: Path, part: Part) -> tuple[Pixels, Labels]:
    cls = _torchvision_class(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, on the age of these files
            data = cls(root=str(root), train=part == "train", download=False)
    except RuntimeError:
        raise DataError(
            f"'{root / cls.base_folder}' is incomplete or damaged: a file is missing or its "
            f"checksum differs. Unpack {cls.url} again, or let "
            f"`nlbench data check {name} --data-dir DIR --download` do it."
        ) from None
    return data.data, np.asarray(data.targets, dtype=np.int64)


def _check_shards(root: Path, part: str, files: Sequence[Path]) -> None:
    told = {int(m[1]) for f in files if (m := re.search(r"-of-(\d+)\.parquet$", f.name))}
    if not files or (told and told != {len(files)}):
        number = f"{max(told)}" if told else "at least one"
        raise DataError(
            f"'{root}' must contain {number} {part}-*.parquet, it has {len(files)}. "
            "Download the missing files or delete the extra ones."
        )


def _column(file: Path, names: Sequence[str]) -> Any:
    """Read one column, whichever of the names it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            columns = parquet.schema_arrow.names
            name = next((n for n in names if n in columns), None)
            column = None if name is None else parquet.read(columns=[name])[name]
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"parquet file '{file}' cannot be read: {error}. Download it again."
        ) from None
    if column is None:
        raise DataError(
            f"parquet file '{file}' must have a column {' or '.join(map(repr, names))}, "
            f"it has {columns}. Check that it is CIFAR's."
        )
    return column


def _decode(file: Path, row: int, entry: Any) -> Pixels:
    content = entry.get("bytes") if isinstance(entry, dict) else None
    inner = (entry.get("path") if isinstance(entry, dict) else None) or "no path"
    try:
        if content is None:
            raise ValueError("it has no bytes")
        with Image.open(io.BytesIO(content)) as image:
            if image.size != (SIDE, SIDE):
                raise ValueError(f"it is {image.width} x {image.height}, not {SIDE} x {SIDE}")
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except Exception as error:
        # Pillow's decoders raise many types (OSError, SyntaxError, struct.error, ...).
        raise DataError(
            f"image in row {row} ({inner}) of '{file}' cannot be decoded: {error}. "
            "Download the file again."
        ) from error
