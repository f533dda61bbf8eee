"""Small data sets in CIFAR's layouts, for tests."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

N_TRAIN, N_TEST = 40, 20


def pixels(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def labels(n: int, n_classes: int = 10) -> np.ndarray:
    return np.arange(n, dtype=np.int64) * 7 % n_classes


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "png")
    return out.getvalue()


def put_parquet(
    root: Path, name: str = "cifar10", image: str = "img", label: str = "label", shards: int = 2
) -> Path:
    """Write Hugging Face's layout under `root`; gives the folder of the files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for part, n, seed in (("train", N_TRAIN, 0), ("test", N_TEST, 1)):
        rows = [{"bytes": png(p), "path": f"{part}_{i}.png"} for i, p in enumerate(pixels(n, seed))]
        k = 100 if name == "cifar100" else 10
        table = pa.table({image: rows, label: labels(n, k)})
        for s in range(shards):
            size = n // shards
            file = folder / f"{part}-{s:05d}-of-{shards:05d}.parquet"
            pq.write_table(table.slice(s * size, size), file)
    return folder


def edit_parquet(file: Path, column: str, row: int, value: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file).to_pydict()
    table[column][row] = value
    pq.write_table(pa.table(table), file)


def put_torchvision(root: Path, patch: pytest.MonkeyPatch, name: str = "cifar10") -> Path:
    """Write torchvision's layout under `root` and tell torchvision its checksums."""
    cls = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    folder = root / cls.base_folder
    folder.mkdir(parents=True)
    key, k = ("labels", 10) if name == "cifar10" else ("fine_labels", 100)

    def write(file: str, content: dict[str, Any]) -> list[str]:
        (folder / file).write_bytes(pickle.dumps(content))
        return [file, hashlib.md5((folder / file).read_bytes()).hexdigest()]  # noqa: S324

    def batches(listed: list[list[str]], n: int, seed: int) -> list[list[str]]:
        flat = pixels(n, seed).transpose(0, 3, 1, 2).reshape(n, -1)
        size = n // len(listed)
        return [
            write(
                file,
                {
                    "data": flat[i * size : (i + 1) * size],
                    key: labels(n, k)[i * size : (i + 1) * size].tolist(),
                },
            )
            for i, (file, _) in enumerate(listed)
        ]

    patch.setattr(cls, "train_list", batches(cls.train_list, N_TRAIN, 0))
    patch.setattr(cls, "test_list", batches(cls.test_list, N_TEST, 1))
    file, md5 = write(cls.meta["filename"], {cls.meta["key"]: [str(i) for i in range(k)]})
    patch.setattr(cls, "meta", {**cls.meta, "filename": file, "md5": md5})
    return folder


def human_sets(clean: np.ndarray, n_classes: int = 10) -> dict[str, np.ndarray]:
    """Return label sets with 10, 20, ... 50 % other labels."""
    keys = ("aggre_label", "random_label1", "random_label2", "random_label3", "worse_label")
    sets = {"clean_label": clean}
    for i, key in enumerate(keys, start=1):
        wrong = np.arange(len(clean)) % 10 < i
        sets[key] = np.where(wrong, (clean + i) % n_classes, clean)
    return sets


def put_human(root: Path, content: object = None, name: str = "CIFAR-10_human.pt") -> Path:
    file = root / "cifar_n" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(human_sets(labels(N_TRAIN)) if content is None else content, file)
    return file
