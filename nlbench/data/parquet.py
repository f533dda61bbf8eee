"""parquet: images and labels in Parquet files, as Hugging Face stores data sets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from nlbench.data.file_contents import contents_sha256, new_digest
from nlbench.data.file_images import CompactNames
from nlbench.data.image_data import Dataset, ImageData
from nlbench.data.imagenet_names import wnid_warning
from nlbench.data.parquet_images import is_binary, parquet_images, read_parquet
from nlbench.data.tables import (
    Column,
    Labels,
    check_shards,
    chosen_column,
    class_labels,
    refuse_missing,
)
from nlbench.errors import DataError
from nlbench.files import readable

TRAIN_PARTS = ("train", "training")
TEST_PARTS = ("test", "testing", "validation", "valid", "val", "dev", "eval")

_PART = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True)
class Parquet(Dataset):
    """Images in Parquet files: PATH/train*.parquet, and PATH/test*.parquet or validation*.parquet.

    Attributes:
        path: The folder, absolute or relative to ``--data-dir``.
        test_split: What the names of the test files begin with; "test" or else "validation" where
            left out.
        image_column: Column of {bytes, path} or of bytes; by default the only one of that shape.
        label_column: Column of whole numbers or text; by default "label" or the only one there is.
        labels_are_clean: Whether the training labels are the truth. False for a data set that is
            noisy by itself: no noise is added, and nothing is measured against these labels.
    """

    version: ClassVar[int] = 2

    path: str = ""
    test_split: str = ""
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
        parts = self._files(root)
        image, label = self._columns(parts.train[0])
        columns = [[_labels(file, label) for file in files] for files in parts[:2]]
        names, labels = class_labels(columns, label)
        train, test = (parquet_images(files, image) for files in parts[:2])
        return ImageData(
            name=f"parquet:{readable(root.name)}",
            class_names=names,
            train_images=train,
            train_labels=labels[0],
            train_ids=CompactNames(train.names()),
            test_images=test,
            test_labels=labels[1],
            fingerprint=_fingerprint([*parts.train, *parts.test], image, names, labels),
            split=f"{parts.train_name} and {parts.test_name} as given",
            labels_are_clean=self.labels_are_clean,
            passed_over=parts.passed_over(),
            warnings=tuple(filter(None, [wnid_warning(names)])),
        )

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Return a hash of the names and contents of the files."""
        parts = self._files(self._root(data_dir))
        return {"content_sha256": _contents([*parts.train, *parts.test])}

    def _root(self, data_dir: Path | None) -> Path:
        if not self.path:
            raise DataError(f"data set 'parquet' needs a path: {self.how_to_get}.")
        root = ((data_dir or Path()) / Path(self.path).expanduser()).absolute()
        if not root.is_dir():
            raise DataError(f"folder '{root}' does not exist: {self.how_to_get}.")
        return root

    def _files(self, root: Path) -> _Files:
        folder = root if any(root.glob("*.parquet")) else root / "data"
        parts: dict[str, list[Path]] = {}
        for file in sorted(folder.glob("*.parquet")):
            match = _PART.match(file.name.removesuffix(".parquet"))
            parts.setdefault(match[0].lower() if match else file.stem, []).append(file)
        train = next((name for name in TRAIN_PARTS if name in parts), "")
        wishes = (self.test_split.lower(),) if self.test_split else TEST_PARTS
        test = next((name for name in wishes if name in parts), "")
        if not train or not test:
            n = sum(map(len, parts.values()))
            names = "train*.parquet and test*.parquet or validation*.parquet"
            if self.test_split:
                names = f"train*.parquet and {self.test_split}*.parquet"
            splits = f" (parts: {', '.join(map(readable, parts))})" if parts else ""
            raise DataError(
                f"folder '{root}' needs {names}, it has {n} such files{splits}: "
                f"{self.how_to_get}. Another test part: --set data.test_split=NAME."
            )
        for name in (train, test):
            check_shards([file.name for file in parts[name]], str(folder))
        others = [
            file for name, files in parts.items() if name not in (train, test) for file in files
        ]
        return _Files(parts[train], parts[test], train, test, others)

    def _columns(self, file: Path) -> tuple[str, str]:
        """Return the image column and the label column."""
        import pyarrow as pa

        schema = read_parquet(file, lambda opened: opened.schema_arrow)
        types = {field.name: str(field.type) for field in schema}
        structs = [
            f.name
            for f in schema
            if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0
        ]
        raw = [f.name for f in schema if is_binary(f.type)]
        numbers = [f.name for f in schema if pa.types.is_integer(f.type)]
        texts = [f.name for f in schema if _is_text(f.type)]
        image = chosen_column(
            "image_column", self.image_column, structs or raw, types, str(file), [*structs, *raw]
        )
        accepted = [*numbers, *texts]
        preferred = ["label"] if "label" in accepted else numbers or texts
        label = chosen_column(
            "label_column", self.label_column, preferred, types, str(file), accepted
        )
        return image, label


class _Files(NamedTuple):
    """The files of both parts, what these are called, and files of other parts."""

    train: list[Path]
    test: list[Path]
    train_name: str
    test_name: str
    others: list[Path]

    def passed_over(self) -> dict[str, tuple[int, tuple[str, ...]]]:
        """Return the files that are not used."""
        names = tuple(readable(file.name) for file in self.others)
        return {"file of another part": (len(names), names[:5])} if names else {}


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _labels(file: Path, column: str) -> Column:
    """Read the labels of a file with the class names that the file itself gives."""

    def read(opened: Any) -> tuple[Any, Any]:
        return opened.schema_arrow, opened.read([column]).column(column)

    schema, values = read_parquet(file, read)
    if not len(values):
        raise DataError(f"file '{file}' contains no images. Download it again, or remove it.")
    refuse_missing(values.null_count, len(values), str(file), column)
    is_text = _is_text(values.type)
    kind = "string" if is_text else "int64"
    numbers = read_parquet(file, lambda _: values.cast(kind).to_pylist())
    array = np.array(numbers, dtype=object if is_text else np.int64)
    return Column(str(file), array, _class_names(schema, column))


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Return the names that the Hugging Face library wrote into the file, or none."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        names = described["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _contents(files: Sequence[Path]) -> str:
    return contents_sha256(files[0].parent, [file.name for file in files])


def _fingerprint(
    files: Sequence[Path], image: str, names: Sequence[str], parts: Sequence[Labels]
) -> str:
    """Hash names and contents of the files, the classes and all labels."""
    digest = new_digest(f"{image}\0{_contents(files)}\0{list(names)}")
    for part in parts:
        digest.update(part.astype("<i8").tobytes() + b"\0")
    return digest.hexdigest()
