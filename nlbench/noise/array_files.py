"""A matrix or labels of the user's own: an array, or a .npy, .csv, .txt or .yaml file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nlbench.errors import ConfigError, DataError
from nlbench.files import is_file, parse_yaml


def read_array(option: str, source: Any, dtype: type) -> Any:
    """Return an array, or read it from a file; pickled objects are refused.

    Raises:
        ConfigError: if it is None, or not an array of numbers.
        DataError: if the file is missing or damaged.
    """
    if source is None:
        raise ConfigError(f"this noise needs `{option}`: an array, or --set noise.{option}=FILE.")
    if not isinstance(source, str | Path):
        try:
            return np.asarray(source, dtype=dtype if dtype is np.float64 else None)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"`{option}` must be an array of numbers: {error}") from None
    path = Path(source).expanduser()
    if not is_file(path):
        raise DataError(f"`{option}` file '{path}' does not exist. Check the path.")
    try:
        array = _read_file(path)
        return array.astype(np.float64) if dtype is np.float64 else array
    except (ValueError, TypeError, AttributeError, OSError, EOFError) as error:
        raise DataError(f"`{option}` file '{path}' cannot be read: {error}") from None


def _read_file(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise ValueError("it is empty")
    if path.suffix == ".npy":
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of arrays; save one array with numpy.save")
        return array
    if path.suffix in (".yaml", ".yml"):
        return np.asarray(parse_yaml(path.read_text("utf-8-sig")))
    return np.loadtxt(path, delimiter="," if path.suffix == ".csv" else None)
