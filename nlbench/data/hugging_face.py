"""hf: a data set of the Hugging Face hub, or of a local folder, through the `datasets` library.

An optional extra. Only data files are read: from version 4 on the library runs no code that a data
set brings along.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nlbench.data.content_keys import Keys
from nlbench.data.copies import find_copies
from nlbench.data.decoding import as_batch, decode, warnings_name_the_image
from nlbench.data.file_contents import contents_sha256, file_keys, new_digest
from nlbench.data.file_images import CompactNames, required_size
from nlbench.data.file_memory import READERS
from nlbench.data.image_data import Dataset, ImageData
from nlbench.data.imagenet_names import wnid_warning
from nlbench.data.images import CENTRE, Fit, ImageSource
from nlbench.data.parquet import TEST_PARTS
from nlbench.data.tables import (
    Column,
    Labels,
    check_shards,
    chosen_column,
    class_labels,
    refuse_missing,
)
from nlbench.errors import ConfigError, DataError
from nlbench.files import readable

_ROWS = 1000


@dataclass(frozen=True)
class HuggingFace(Dataset):
    """A data set of the Hugging Face hub, ``hf:ORG/NAME``, or a folder it can load, ``hf:PATH``.

    Attributes:
        path: Its name on the hub; or a folder, absolute or relative to ``--data-dir``.
        subset: Which configuration, where the data set has several.
        revision: Branch, tag or commit on the hub; a commit keeps results repeatable.
        train_split: Of the data set; slices such as ``train[:80%]`` work.
        test_split: The same; "test" or else "validation" where left out.
        image_column: Column of images; by default the only one.
        label_column: Column of classes, whole numbers or text; by default "label" or the only
            one there is.
        labels_are_clean: Whether the training labels are the truth. False for a data set that is
            noisy by itself: no noise is added, and nothing is measured against these labels.
    """

    version: ClassVar[int] = 2

    path: str = ""
    subset: str = ""
    revision: str = ""
    train_split: str = "train"
    test_split: str = ""
    image_column: str = ""
    label_column: str = ""
    labels_are_clean: bool = True

    origin: ClassVar[str] = "the Hugging Face hub, or your own folder in one of its layouts"
    licence: ClassVar[str] = "see the data set's page on the hub"
    size: ClassVar[str] = "as its page on the hub says"
    where: ClassVar[str] = "nothing to put anywhere; a folder is PATH, absolute or under DIR"
    download_note: ClassVar[str] = "on first use, by the `datasets` library"
    how_to_get: ClassVar[str] = (
        "`pip install 'nlbench[hf]'` and name it as `--dataset hf:ORG/NAME`; it is downloaded on "
        "first use into the library's cache (HF_HOME)"
    )
    recipe: ClassVar[str] = "standard/hf"
    takes_path: ClassVar[bool] = True

    def load(self, data_dir: Path | None) -> ImageData:
        """Read the labels; the images are read when they are asked for."""
        test_split = self.test_split or self._default_test(data_dir)
        parts = [
            self._called("load_dataset", data_dir, split=split)
            for split in (self.train_split, test_split)
        ]
        image, label = self._columns(parts[0].features)
        columns = [
            [_labels(part, label, f"{self._what}, {split}")]
            for split, part in zip((self.train_split, test_split), parts, strict=True)
        ]
        names, labels = class_labels(columns, label)
        train, test = (_images(part, image, self._what) for part in parts)
        contents = (train.contents(), test.contents())
        ids = [
            CompactNames(f"{split}:{row}" for row in range(len(part)))
            for split, part in ((self.train_split, train), (test_split, test))
        ]
        return ImageData(
            name=self._what,
            class_names=names,
            train_images=train,
            train_labels=labels[0],
            train_ids=ids[0],
            test_images=test,
            test_labels=labels[1],
            fingerprint=_fingerprint(contents, names, labels),
            split=f"{self.train_split} and {test_split} as given",
            labels_are_clean=self.labels_are_clean,
            copies=find_copies(contents, (labels[0], labels[1]), (ids[0], ids[1])),
            warnings=tuple(filter(None, [wnid_warning(names)])),
        )

    def content_key(self, data_dir: Path | None) -> Mapping[str, str]:
        """Return a hash of a folder's files by content, or the hub's own hash of the data."""
        root = self._folder(data_dir)
        if root is None:
            return {
                "builder": str(self._called("load_dataset_builder", data_dir).hash),
                "name": self.path,
            }
        every = (p.relative_to(root) for p in root.rglob("*") if p.is_file())
        names = sorted(p.as_posix() for p in every if not any(x[0] == "." for x in p.parts))
        _check_all_shards(root, names)
        return {"content_sha256": contents_sha256(root, names)}

    @property
    def _what(self) -> str:
        name = Path(self.path).name if Path(self.path).is_absolute() else self.path
        return f"hf:{readable(name)}"

    def _folder(self, data_dir: Path | None) -> Path | None:
        if not self.path:
            raise DataError(f"data set 'hf' needs a name: {self.how_to_get}.")
        folder = ((data_dir or Path()) / Path(self.path).expanduser()).absolute()
        if folder.is_dir():
            return folder
        if Path(self.path).is_absolute() or self.path.startswith(("~", ".")):
            raise DataError(f"folder '{folder}' does not exist. Check the path of '{self._what}'.")
        return None

    def _called(self, function: str, data_dir: Path | None, **options: Any) -> Any:
        folder, library = self._folder(data_dir), _library()
        try:
            return getattr(library, function)(
                str(folder or self.path),
                self.subset or None,
                revision=self.revision or None,
                **options,
            )
        except Exception as error:  # the library raises what its many readers raise
            reason = (str(error).strip().splitlines() or [""])[0][:300]
            raise DataError(
                f"data set '{self._what}' cannot be loaded: {type(error).__name__}: {reason}\n"
                "Check name, --set data.subset, data.revision and the splits; without a network "
                "it must be in the library's cache already."
            ) from error

    def _default_test(self, data_dir: Path | None) -> str:
        splits = list(self._called("load_dataset", data_dir))
        test = next((name for name in TEST_PARTS if name in splits), "")
        if not test:
            raise ConfigError(
                f"data set '{self._what}' has no split 'test' or 'validation', it has: "
                f"{', '.join(splits)}. Give one with --set data.test_split=NAME, or parts of one "
                "with --set 'data.train_split=train[:80%]' --set 'data.test_split=train[80%:]'."
            )
        return test

    def _columns(self, features: Mapping[str, Any]) -> tuple[str, str]:
        library = _library()
        types = {name: _type_text(kind) for name, kind in features.items()}
        images = [name for name, kind in features.items() if isinstance(kind, library.Image)]
        raw = [name for name, kind in features.items() if _is_encoded_image(kind)]
        numbers = [
            name for name, kind in types.items() if re.fullmatch(r"ClassLabel|u?int\d+", kind)
        ]
        texts = [name for name in types if types[name] in ("string", "large_string")]
        image = chosen_column(
            "image_column", self.image_column, images or raw, types, self._what, [*images, *raw]
        )
        accepted = [*numbers, *texts]
        preferred = ["label"] if "label" in accepted else numbers or texts
        return image, chosen_column(
            "label_column", self.label_column, preferred, types, self._what, accepted
        )


def _is_encoded_image(kind: Any) -> bool:
    """Return whether a column holds bytes, or {bytes, path} without being called an image."""
    inner = kind.get("bytes") if isinstance(kind, dict) else kind
    return _type_text(inner) in ("binary", "large_binary")


def _type_text(kind: Any) -> str:
    return str(
        getattr(kind, "dtype", None) if type(kind).__name__ == "Value" else type(kind).__name__
    )


def _check_all_shards(root: Path, names: Sequence[str]) -> None:
    parts: dict[str, list[str]] = {}
    for name in names:
        if name.endswith((".parquet", ".arrow")):
            parts.setdefault(re.split(r"-\d{5}-of-", name)[0], []).append(name)
    for files in parts.values():
        check_shards(files, str(root))


@dataclass(frozen=True, eq=False)
class HubImages(ImageSource):
    """Images of one split, decoded when asked for.

    Attributes:
        rows: The library's data set with the image column alone, not decoded: {bytes, path}.
        what: Name for messages.
    """

    rows: Any
    column: str
    what: str

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Return uint8 RGB images (B, 3, size, size).

        Raises:
            DataError: naming the row, if an image cannot be read or decoded.
        """
        side, positions = required_size(size), indices.tolist()
        cells = self.rows[positions][self.column] if positions else []

        def one(cell: Mapping[str, Any] | None, row: int) -> npt.NDArray[np.uint8]:
            content, path = (cell or {}).get("bytes"), (cell or {}).get("path")
            what = f"{self.what}, row {row}" + (f" ({path})" if path else "")
            if not content and not path:
                raise DataError(f"image '{what}' has no bytes. Leave the row out.")
            source = io.BytesIO(content) if content else Path(str(path))
            return decode(source, side, what, fit=fit)

        with warnings_name_the_image(), ThreadPoolExecutor(READERS) as pool:
            return as_batch(list(pool.map(one, cells, positions)), side)

    def content_keys(self) -> Keys:
        """Return what tells the same images, (N,); reads all of them."""
        return file_keys(self.contents())

    def contents(self) -> list[bytes]:
        """Return the SHA-256 of every image's bytes, in the table or in a file; b"" for none."""
        import pyarrow.compute as pc

        out = []
        for batch in self.rows.with_format("arrow").iter(_ROWS):
            cells = batch.column(self.column).combine_chunks()
            paths = pc.struct_field(cells, "path").to_pylist()
            # Arrow's buffers are views: no image is copied.
            for cell, path in zip(pc.struct_field(cells, "bytes"), paths, strict=True):
                content = cell.as_buffer()
                if content is None and path:
                    content = Path(path).read_bytes()
                out.append(b"" if content is None else hashlib.sha256(content).digest())
        return out


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            "data set 'hf' needs the `datasets` library, which is not installed: "
            "pip install 'nlbench[hf]'"
        ) from None
    return datasets


def _images(part: Any, column: str, what: str) -> HubImages:
    rows = part.select_columns([column]).cast_column(column, _library().Image(decode=False))
    return HubImages(rows, column, what)


def _labels(part: Any, column: str, where: str) -> Column:
    if column not in part.column_names or not len(part):
        raise DataError(f"split '{where}' has no rows with a column {column!r}. Name another.")
    kind = part.features[column]
    values = part.select_columns([column]).with_format("arrow")[:].column(column)
    refuse_missing(values.null_count, len(values), where, column)
    is_text = _type_text(kind) in ("string", "large_string")
    array = np.array(values.to_pylist(), dtype=object if is_text else np.int64)
    return Column(where, array, tuple(getattr(kind, "names", ()) or ()))


def _fingerprint(
    contents: Sequence[Sequence[bytes]], names: Sequence[str], labels: Sequence[Labels]
) -> str:
    """Hash the bytes of all images, the classes and all labels."""
    digest = new_digest(str(list(names)))
    for part, values in zip(contents, labels, strict=True):
        digest.update(b"\0".join(part) + values.astype("<i8").tobytes())
    return digest.hexdigest()
