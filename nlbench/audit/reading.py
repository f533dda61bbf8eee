"""From what a person names or has in memory to samples: the one door for all sources."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlbench.audit.folder_samples import folder_samples
from nlbench.audit.samples import Samples, joined
from nlbench.audit.table_samples import SUFFIXES, table_samples
from nlbench.data.image_data import ImageData
from nlbench.data.images import ImageSource, TensorImages
from nlbench.data.labels import plain_array, whole_labels
from nlbench.errors import ConfigError, DataError
from nlbench.files import readable
from nlbench.plugins.registry import find, make_component, plugin_name
from nlbench.selector.from_arrays import tensor_of
from nlbench.surroundings import kept

_TRAIN, _TEST = "train", "test"


def read_samples(
    source: str | Path, data_dir: Path | None = None, options: dict[str, Any] | None = None
) -> Samples:
    """Return all labelled images of a source.

    Args:
        source: A folder with a directory per class; a table of files and labels; or a data set as
            ``--dataset`` takes it, such as ``parquet:PATH`` or ``cifar10``.
        data_dir: The folder that contains the data sets.
        options: Settings of the data set.

    Raises:
        ConfigError: if it is neither a path nor the name of a data set.
        DataError: if it is missing, damaged, or has nothing to judge.
    """
    options, path = options or {}, Path(source).expanduser()
    kind, colon, rest = str(source).partition(":")
    if kind == "folder" and colon:
        path = (data_dir or Path()) / Path(rest).expanduser()
    elif path.is_file() and path.suffix.lower() in SUFFIXES:
        return table_samples(path)
    elif not path.is_dir():
        return _of_data_set(str(source), data_dir, options)
    if not path.is_dir():
        raise DataError(f"folder '{path}' does not exist. Check the path.")
    if not colon and any(path.glob("*.parquet")):
        return _of_data_set(f"parquet:{path.absolute()}", data_dir, options)
    return folder_samples(path, **options)


def _of_data_set(source: str, data_dir: Path | None, options: dict[str, Any]) -> Samples:
    name, colon, path = source.partition(":")
    if not colon and ("/" in source or "." in source):
        raise DataError(
            f"'{source}' does not exist. Give a folder with a directory per class, a table "
            "`file,label`, or a data set of `nlbench list datasets`."
        )
    find("datasets", name)
    settings = {"path": path, **options} if colon else options
    with kept(plugin_name("datasets", name)):
        data: ImageData = make_component("datasets", name, settings).load(data_dir)
    return _joined(data)


def _joined(data: ImageData) -> Samples:
    """Return the training and the test part of a data set as one."""
    n, m = len(data.train_labels), len(data.test_labels)
    test_names = getattr(data.test_images, "names", None)
    if callable(test_names):
        test_names = list(test_names())
    if test_names is None or len(set(map(str, test_names)) | set(data.train_ids)) < n + m:
        test_names = [f"{_TEST}/{row}" for row in range(m)]
    labels = np.concatenate([data.train_labels, data.test_labels])
    digest = hashlib.sha256(data.fingerprint.encode() + labels.astype("<i8").tobytes())
    return Samples(
        name=data.name,
        names=[*data.train_ids, *map(readable, map(str, test_names))],
        labels=labels,
        class_names=data.class_names,
        parts=[_TRAIN] * n + [_TEST] * m,
        images=joined(data.train_images, data.test_images),
        fingerprint=digest.hexdigest(),
        unreadable=data.unreadable,
        passed_over=data.passed_over,
        warnings=data.warnings,
    )


def samples_of_arrays(
    labels: Any,
    images: Any = None,
    class_names: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> Samples:
    """Return samples made of arrays.

    Args:
        labels: (N,) whole numbers from 0, or text, each text a class.
        images: (N, C, H, W) or (N, H, W, C) uint8, or an image source; None for features alone.
        class_names: K names; the texts, or numbers, where left out.
        names: N names, each once; positions where left out.

    Raises:
        ConfigError: if lengths, types or ranges do not fit together.
    """
    array = plain_array(labels)
    if class_names is None and array.dtype.kind in "OUST":
        class_names = sorted({str(value) for value in array.tolist()})
        array = np.array([str(value) for value in array.tolist()])
    numbers = whole_labels("labels", array, class_names)
    if class_names is None:
        class_names = [str(i) for i in range(int(numbers.max()) + 1)]
    if numbers.min() < 0 or numbers.max() >= len(class_names):
        raise ConfigError(
            f"`labels` must lie in [0, {len(class_names)}), got values from {numbers.min()} to "
            f"{numbers.max()}."
        )
    if len(class_names) < 2:
        raise ConfigError(f"`labels` must be of at least 2 classes, got {len(class_names)}.")
    n = len(numbers)
    source = None if images is None else _image_source(images)
    for what, given in (("images", source), ("names", names)):
        if given is not None and len(given) != n:
            raise ConfigError(f"`{what}` must have {n} entries, one per label, got {len(given)}.")
    texts = [str(i) for i in range(n)] if names is None else [readable(str(v)) for v in names]
    if len(set(texts)) < n:
        raise ConfigError("`names` must be different from each other, got one twice.")
    digest = hashlib.sha256("\0".join([*texts, *class_names]).encode())
    digest.update(numbers.astype("<i8").tobytes())
    if isinstance(source, TensorImages):
        digest.update(source.images.cpu().contiguous().numpy().data)
    return Samples(
        name="arrays",
        names=texts,
        labels=numbers,
        class_names=tuple(map(str, class_names)),
        parts=[""] * n,
        images=source,
        fingerprint=digest.hexdigest(),
    )


def _image_source(images: Any) -> ImageSource:
    if hasattr(images, "load"):
        source: ImageSource = images
        return source
    pixels = tensor_of("images", images)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4 or pixels.dtype != torch.uint8:
        raise ConfigError(
            "`images` must be uint8 of shape (N, C, H, W) or (N, H, W, C), got "
            f"{pixels.dtype} {tuple(pixels.shape)}."
        )
    return TensorImages(_channels_first(pixels))


def _channels_first(pixels: Tensor) -> Tensor:
    if pixels.shape[1] in (1, 3):
        return pixels
    if pixels.shape[3] in (1, 3):
        return pixels.permute(0, 3, 1, 2).contiguous()
    raise ConfigError(f"`images` must have 1 or 3 channels, got shape {tuple(pixels.shape)}.")
