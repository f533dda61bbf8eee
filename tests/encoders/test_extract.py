"""From images to embeddings: once per image, the same bits however it was done."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

import nlbench
from nlbench.config.sweep_plan import SweepPlan
from nlbench.data import file_images
from nlbench.data.file_images import FileImages
from nlbench.data.images import CENTRE, Fit, ImageSource, TensorImages
from nlbench.encoders.base import Encoder
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.extract import embedding_precision, encoding_batch_size, extract
from nlbench.encoders.features import load_encoder
from nlbench.encoders.shards import SHARD_ROWS
from nlbench.errors import ConfigError, DataError
from nlbench.plugins import registry
from nlbench.results.store import RunStore
from nlbench.runner.sweep import run_sweep
from nlbench.runner.workplace import Workplace

CPU = torch.device("cpu")
N = 5 * SHARD_ROWS + 100


def noise_images(n: int = N) -> TensorImages:
    generator = torch.Generator().manual_seed(0)
    return TensorImages(torch.randint(0, 256, (n, 1, 8, 8), generator=generator).to(torch.uint8))


def embed(images: ImageSource, cache: EmbeddingCache, name: str = "bundled-glyphs") -> torch.Tensor:
    encoder = load_encoder(name)

    def compute(shards: Any) -> Any:
        return extract(images, encoder, CPU, "float32", shards)

    return cache.get({"encoder": name, "data": "noise"}, len(images), compute)


def photos(folder: Path, n: int) -> FileImages:
    """Write smooth JPEGs of many sizes."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        width, height = rng.integers(40, 120, 2).tolist()
        small.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{i:04d}.jpg")
    return FileImages(folder, tuple(sorted(path.name for path in folder.iterdir())))


KILLED = dedent("""
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import test_extract as t
    import torch
    from nlbench.encoders.cache import EmbeddingCache
    from nlbench.data.images import TensorImages

    class Slow(t.TensorImages):
        def load(self, indices, size=None, fit=None):
            time.sleep(0.1)
            return super().load(indices, size)

    torch.set_num_threads(1)
    t.embed(Slow(t.noise_images().images), EmbeddingCache(Path(sys.argv[2])))
""")


class Recorded(TensorImages):
    """Counts how often each image is read."""

    def load(
        self, indices: torch.Tensor, size: int | None = None, fit: Fit = CENTRE
    ) -> torch.Tensor:
        read.update(indices.tolist())
        return super().load(indices, size, fit)


read: Counter[int] = Counter()


def test_a_killed_extraction_goes_on_after_its_last_shard(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(folder)]
    with subprocess.Popen(command) as process:
        while len(list(folder.glob("embeddings/*/[0-9]*.safetensors"))) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    n_done = len(list(folder.glob("embeddings/*/[0-9]*.safetensors"))) * SHARD_ROWS
    assert 2 * SHARD_ROWS <= n_done < N
    images = noise_images()
    read.clear()
    resumed = embed(Recorded(images.images), EmbeddingCache(folder))
    assert read == Counter(range(n_done, N))
    assert torch.equal(resumed, embed(images, EmbeddingCache(tmp_path / "whole")))


def test_only_a_damaged_shard_is_computed_again(tmp_path: Path) -> None:
    images, cache = noise_images(), EmbeddingCache(tmp_path)
    whole = embed(images, cache)
    second = sorted(cache.folder.glob("*/*.safetensors"))[1]
    second.write_bytes(second.read_bytes()[:-1])
    read.clear()
    assert torch.equal(embed(Recorded(images.images), cache), whole)
    assert read == Counter(range(SHARD_ROWS, 2 * SHARD_ROWS))
    (row,) = cache.info()
    assert (row["rows"], row["dimensions"]) == (N, 96)


def test_a_part_of_the_rows_in_any_order(tmp_path: Path) -> None:
    images, cache = noise_images(), EmbeddingCache(tmp_path)
    whole = embed(images, cache)
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(0))[:3000]
    identity = {"encoder": "bundled-glyphs", "data": "noise"}
    got = cache.get(identity, N, lambda shards: pytest.fail("computed"), rows)
    assert torch.equal(got, whole[rows])


class EncodedImages:
    """Counts the images that each encoder is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count: Counter[str] = Counter()
        encode = Encoder.encode_images

        def counted(encoder: Encoder, batch: torch.Tensor, *rest: Any) -> torch.Tensor:
            self.count[encoder.name] += len(batch)
            return encode(encoder, batch, *rest)

        monkeypatch.setattr(Encoder, "encode_images", counted)


def test_a_sweep_embeds_each_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over noises, selectors and seeds, each seed with a validation split of its own."""
    encoded = EncodedImages(monkeypatch)
    plan = SweepPlan(
        selectors=("clip-knn", "clipcleaner", "imagenet-baseline"),
        noises=("symmetric:0.4", "pair:0.2"),
        seeds=(0, 1),
        epochs=1,
    )
    cells = list(run_sweep(plan.configs(), Workplace(RunStore(), CPU)))
    assert [cell.status for cell in cells] == ["finished"] * 12
    n_train = len(registry.find("datasets", "digits").load()().load(None).train_labels)
    assert encoded.count == {"bundled-clip": n_train, "bundled-glyphs": n_train}


def answers(home: Path, dataset: str) -> tuple[list[bool], list[float], float]:
    record = nlbench.run(
        "clip-knn", dataset, "symmetric", 0.4, epochs=1, track=False, device="cpu", home=home,
        settings={"protocol.image_text_encoder": "bundled-clip"},
    )  # fmt: skip
    table = pq.read_table(RunStore(home).folder(record.fingerprint) / "selection.parquet")
    keep, score = table.column("keep").to_pylist(), table.column("score").to_pylist()
    assert 0 < sum(keep) < len(keep)
    return keep, score, record.metrics.test.accuracy_last


def test_same_answers_with_any_readers_from_a_cold_and_a_warm_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photos(tmp_path / "photos", 60)
    for i, name in enumerate(source.names):
        target = tmp_path / "data" / f"class{i % 2}" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (source.root / name).rename(target)
    found = []
    for n_readers in (1, 2, 8):
        monkeypatch.setattr(file_images, "READERS", n_readers)
        monkeypatch.setenv("NLBENCH_CACHE", str(tmp_path / f"cache{n_readers}"))
        for run in ("cold", "warm"):
            home = tmp_path / f"home {n_readers} {run}"
            found.append(answers(home, f"folder:{tmp_path / 'data'}"))
    assert found[1:] == found[:1] * 5


def test_an_image_that_breaks_meanwhile_is_named_and_the_shards_before_it_stay(
    tmp_path: Path,
) -> None:
    files = photos(tmp_path / "photos", 3)
    broken = files.root / "0002.jpg"
    content = broken.read_bytes()
    broken.write_bytes(content[:100])
    images = FileImages(files.root, ("0000.jpg",) * SHARD_ROWS + tuple(files.names))
    cache = EmbeddingCache(tmp_path / "cache")
    with pytest.raises(DataError, match=r"0002\.jpg' cannot be decoded"):
        embed(images, cache)
    assert [row["rows"] for row in cache.info()] == [SHARD_ROWS]
    broken.write_bytes(content)
    assert len(embed(images, cache)) == SHARD_ROWS + 3


@pytest.mark.parametrize("size", [16, 64])
def test_pixels_are_those_of_the_models_own_preprocessing(tmp_path: Path, size: int) -> None:
    files = photos(tmp_path / "photos", 40)
    own = image_transform_v2(PreprocessCfg(size=size, mean=(0, 0, 0), std=(1, 1, 1)), False)
    expected = torch.stack([own(Image.open(files.root / name)) for name in files.names]) * 255
    got = files.load(torch.arange(len(files)), size).float()
    difference = (got - expected).abs()
    assert difference.max() <= 2.001
    assert difference.mean() < 0.02


def test_a_very_long_strip_is_cut_before_it_grows(tmp_path: Path) -> None:
    strip = np.zeros((2, 60_000, 3), dtype=np.uint8)
    strip[:, 29_000:31_000] = 200
    Image.fromarray(strip).save(tmp_path / "strip.png")
    started = time.perf_counter()
    batch = FileImages(tmp_path, ("strip.png",)).load(torch.tensor([0]), 224)
    assert (batch == 200).all()
    assert time.perf_counter() - started < 5  # whole, it would be 224 x 6 720 000


def test_bfloat16_finds_the_same_clean_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = answers(tmp_path / "float32", "digits")
    monkeypatch.setenv("NLBENCH_EMBEDDING_PRECISION", "bfloat16")
    encoded = EncodedImages(monkeypatch)
    rounded = answers(tmp_path / "bfloat16", "digits")
    assert encoded.count["bundled-clip"] > 0  # float32's entry is not taken for it
    keep, other = np.array(exact[0]), np.array(rounded[0])
    assert (keep & other).sum() / (keep | other).sum() >= 0.99
    assert exact[1] != rounded[1]


class Flat(Encoder):
    """One matrix for 8 x 8 pixels, of any number of columns."""

    def __init__(self, width: int = 4) -> None:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, width))
        super().__init__("flat", model, 8, (0.5,) * 3, (0.2,) * 3)

    def forward_images(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(batch)


def test_precision_by_device_and_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large, cuda = Flat(), Flat(10_000), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr("nlbench.encoders.extract.has_bfloat16_tiles", lambda: True)
    assert embedding_precision(CPU, small) == "float32"
    assert embedding_precision(CPU, large) == "bfloat16"
    assert embedding_precision(cuda, small) == "bfloat16"
    assert embedding_precision(torch.device("mps"), large) == "float32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr("nlbench.encoders.extract.has_bfloat16_tiles", lambda: False)
    assert embedding_precision(CPU, large) == "float32"
    assert embedding_precision(cuda, small) == "float32"
    monkeypatch.setenv("NLBENCH_EMBEDDING_PRECISION", "bfloat16")
    assert embedding_precision(CPU, small) == "bfloat16"
    monkeypatch.setenv("NLBENCH_EMBEDDING_PRECISION", "float16")
    with pytest.raises(ConfigError, match="float32 or bfloat16, got 'float16'"):
        embedding_precision(CPU, small)


def test_rounded_copy_leaves_the_encoder_as_it_is() -> None:
    """Text is encoded in float32, and the cache's key is the hash of the float32 weights."""
    encoder, images = Flat(64), noise_images(20).load(torch.arange(20))
    before = encoder.weights_sha256
    exact = encoder.encode_images(images, CPU)
    rounded = encoder.in_precision("bfloat16").encode_images(images, CPU)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=5e-3, rtol=0)
    assert Flat(64).weights_sha256 == before
    assert torch.equal(encoder.encode_images(images, CPU), exact)
    assert encoder.in_precision("float32") is encoder


def test_batches_by_side_and_device() -> None:
    """A processor is faster, and takes less memory, with few large images at once."""
    sides = (32, 64, 112, 224, 336, 1024)
    assert [encoding_batch_size(side, CPU) for side in sides] == [512, 128, 32, 32, 32, 16]
    cuda = torch.device("cuda")
    assert [encoding_batch_size(side, cuda) for side in sides] == [512, 512, 512, 256, 128, 16]


def test_a_large_encoder_gets_smaller_batches_and_the_same_result() -> None:
    sizes = []

    class Large(Encoder):
        def forward_images(self, batch: torch.Tensor) -> torch.Tensor:
            sizes.append(len(batch))
            return self.model(batch)

    model = torch.nn.Sequential(torch.nn.AvgPool2d(56), torch.nn.Flatten())
    encoder = Large("large", model, 224, (0.5,) * 3, (0.2,) * 3)
    images = noise_images(300)
    (got,) = extract(images, encoder, CPU, "float32", [torch.arange(300)])
    assert sizes == [32] * 9 + [16]  # the last 12 with one of them repeated
    expected = encoder.encode_images(images.load(torch.arange(300)), CPU)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
