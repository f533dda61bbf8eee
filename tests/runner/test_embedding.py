"""`nlbench embed`: each image once, in shards written once, whatever happens meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedding_plugins import BATCH, N_TEST, N_TRAIN, EmbeddingPlugins, N
from letter_folders import letter_folder
from typer.testing import CliRunner, Result

import nlbench
from nlbench.cli import app
from nlbench.config.resolve import resolve
from nlbench.encoders import features
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.extract import PRECISION_VARIABLE, extract
from nlbench.encoders.features import cached_embeddings, load_encoder
from nlbench.encoders.shards import Shard, merge_small, read_shard, shard_files, write_shard
from nlbench.errors import ConfigError, PausedError, RunError
from nlbench.plugins import registry
from nlbench.results.store import RunStore
from nlbench.runner.embedding import EmbedOrder, embed_place, plans_of, precision_rule, reserve
from nlbench.runner.on_ray.post import Post
from nlbench.runner.part_work import PartWork
from nlbench.runner.workplace import no_progress

CPU = torch.device("cpu")
WAIT_S = 300


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of images of every extraction in this process."""
    counts: list[int] = []

    def counting(*rest: Any) -> Iterator[torch.Tensor]:
        shards: Sequence[torch.Tensor] = rest[4]
        counts.append(sum(map(len, shards)))
        return extract(*rest)

    monkeypatch.setattr(features, "extract", counting)
    return counts


@pytest.fixture
def plugins(tmp_path: Path) -> EmbeddingPlugins:
    return EmbeddingPlugins(tmp_path / "plugins")


def invoke(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output + done.stderr
    return done


def entries() -> list[Path]:
    return [path for path in EmbeddingCache().folder.iterdir() if path.is_dir()]


def stored_rows() -> int:
    shards = [read_shard(path) for entry in entries() for path in shard_files(entry)]
    return sum(len(shard.keys) for shard in shards if shard is not None)


# What is stored


def test_the_embeddings_are_those_of_one_process_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugins: EmbeddingPlugins
) -> None:
    found = {}
    for jobs in ("1", "2"):
        monkeypatch.setenv("NLBENCH_CACHE", str(tmp_path / f"cache{jobs}"))
        content = json.loads(invoke(*plugins.words, "--jobs", jobs, "--json").stdout)
        (row,) = content["encoders"]
        assert (row["images"], content["embedded"]) == ({"train": N_TRAIN, "test": N_TEST}, N)
        shards = json.loads(Path(row["manifest"]).read_text())["shards"]
        assert [shard["rows"] for shard in shards] == [1024, 1024, 768]
        found[jobs] = sorted(shard["sha256"] for shard in shards)
        assert all(shard["machine"] for shard in shards)
    assert found["1"] == found["2"]
    # As a run has them.
    for path in (plugins.data, plugins.encoder):
        registry.add_plugin_file(path)
    data = registry.find("datasets", "dots").load()().load(None)
    caches = [EmbeddingCache(tmp_path / name) for name in ("cache1", "cache2", "alone")]
    for part, images in (("train", data.train_images), ("test", data.test_images)):
        key = (data.name, f"{data.fingerprint}/{part}")
        mine, theirs, alone = (
            cached_embeddings(images, key, load_encoder("tracked"), CPU, cache) for cache in caches
        )
        assert torch.equal(mine, alone)
        assert torch.equal(theirs, alone)


def test_runs_and_audits_embed_nothing_afterwards(extracted: list[int], tmp_path: Path) -> None:
    letter_folder(tmp_path / "letters")
    (manifest,) = nlbench.embed(f"folder:{tmp_path / 'letters'}", ["bundled-glyphs"])
    once = list(extracted)
    assert (manifest.n_images, manifest.different) == (60, sum(once))
    source = {"dataset": f"folder:{tmp_path / 'letters'}", "noise": "symmetric", "noise_rate": 0.2}
    roles = "protocol.image_encoder", "protocol.image_text_encoder"
    encoders: dict[str, Any] = dict.fromkeys(roles, "bundled-glyphs")
    nlbench.run("clip-knn", **source, settings=encoders, epochs=1, track=False)
    head = {**encoders, "trainer.network": "frozen:bundled-glyphs", "trainer.augmentation": "none"}
    nlbench.run("none", **source, settings=head, epochs=1, track=False)
    nlbench.clean(tmp_path / "letters", encoder="bundled-glyphs", pictures=False)
    nlbench.embed(f"folder:{tmp_path / 'letters'}", ["bundled-glyphs"])
    assert extracted == once


def test_an_audit_of_images_in_memory_finds_what_was_embedded(extracted: list[int]) -> None:
    nlbench.embed("digits", ["bundled-glyphs"])
    before = list(extracted)
    nlbench.clean("digits", encoder="bundled-glyphs", pictures=False)
    assert extracted == before


def test_copies_are_stored_once_in_whichever_part_they_are(plugins: EmbeddingPlugins) -> None:
    words = [*plugins.words, "--set", "data.copies=40"]
    (row,) = json.loads(invoke(*words, "--json").stdout)["encoders"]
    assert row["different"] == N - 80 == stored_rows()
    assert sum(row["images"].values()) == N


def test_what_another_process_stored_twice_is_removed(plugins: EmbeddingPlugins) -> None:
    invoke(*plugins.words)
    (entry,) = entries()
    whole = shard_files(entry)[0]
    shard = read_shard(whole)
    assert shard is not None
    metadata = {"encoder": "tracked", "machine": "other"}
    write_shard(entry, shard, metadata)  # all of it, and half
    write_shard(entry, Shard(shard.keys[:500], shard.embeddings[:500]), metadata)
    assert stored_rows() == N + 1524
    invoke(*plugins.words)
    assert stored_rows() == N
    assert whole.exists()
    assert plugins.n_embedded() == N


def test_no_lock_of_a_part_stays_and_no_half_file(plugins: EmbeddingPlugins) -> None:
    invoke(*plugins.words, "--jobs", "2")
    (entry,) = entries()
    names = {path.name for path in entry.parent.iterdir() if path != entry}
    # The lock of the folder, and those of the training and the test images, as after a run.
    assert len(names) == 3 and all(name.startswith(entry.name) for name in names)
    assert not list(entry.glob(".*"))


# What is damaged, missing or wrong


def test_a_damaged_shard_is_named_and_embedded_again(
    plugins: EmbeddingPlugins, caplog: pytest.LogCaptureFixture
) -> None:
    (row,) = json.loads(invoke(*plugins.words, "--json").stdout)["encoders"]
    first = Path(row["manifest"]).read_text()
    (entry,) = entries()
    victim = shard_files(entry)[0]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    said = invoke(*plugins.words, "--dry-run").stdout
    assert "1024 of 2816 different images to embed, 1 part, 1 damaged shard" in said
    assert victim.exists()
    invoke(*plugins.words)
    assert victim.name in caplog.text and "damaged" in caplog.text
    assert plugins.n_embedded() == N + 1024
    again = json.loads(Path(row["manifest"]).read_text())
    assert {s["sha256"] for s in again["shards"]} == {
        s["sha256"] for s in json.loads(first)["shards"]
    }
    assert victim.name not in {shard["name"] for shard in again["shards"]}


def test_an_image_that_cannot_be_decoded_fails_its_shard_only(plugins: EmbeddingPlugins) -> None:
    (plugins.folder / "bad").write_text("1100")
    done = invoke(*plugins.words, "--part-size", "3000", code=1)
    assert "image 'train/1100.png' cannot be decoded." in done.stderr
    assert "1 finished, 1 failed" in done.stderr or "1 failed, 1 finished" in done.stderr
    assert stored_rows() == N - 1024
    assert not list(entries()[0].glob("*.json"))
    (plugins.folder / "bad").unlink()
    invoke(*plugins.words)
    assert stored_rows() == N


@pytest.mark.slow
def test_an_encoder_that_raises_fails_every_part_and_python_says_so(tmp_path: Path) -> None:
    plugins = EmbeddingPlugins(tmp_path / "plugins", "raise ValueError('no idea')")
    done = invoke(*plugins.words, code=1)
    assert done.stderr.count("tracked failed: ValueError: no idea.") == 4
    files = [plugins.data, plugins.encoder]
    with pytest.raises(RunError, match=r"4 of 4 parts failed\. tracked failed: ValueError"):
        nlbench.embed("dots", ["tracked"], plugins=files, part_size=1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--encoder", "bundled-glyfs"), "Did you mean 'bundled-glyphs'"),
        (("--dataset", "digitz"), "Did you mean 'digits'"),
        (("--executor", "rai"), "Did you mean 'ray'"),
        (("--ray-cpus", "2"), "--ray-cpus is for --executor ray, got --executor local"),
        (("--max-time", "5"), "such as 90s, 30m, 2h"),
        (("--device", "gpu"), "--device must be"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_is_read(words: tuple[str, str], says: str) -> None:
    assert says in invoke("embed", *words, code=2).stderr


def test_a_part_of_no_images_is_refused() -> None:
    with pytest.raises(ConfigError, match="part_size must be a whole number >= 1, got 0"):
        nlbench.embed("digits", ["bundled-glyphs"], part_size=0)


def test_a_data_set_whose_protocol_names_no_encoder_says_what_to_do() -> None:
    none = ("--set", "protocol.image_encoder=''", "--set", "protocol.image_text_encoder=''")
    done = invoke("embed", *none, code=2)
    assert "give one with --encoder" in done.stderr


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NLBENCH_CACHE", str(tmp_path / "file"))
    done = invoke("embed", "--encoder", "bundled-glyphs", code=1)
    assert str(tmp_path / "file") in done.stderr and "Traceback" not in done.output


# Other machines


def one_part(device: str = "cpu") -> tuple[PartWork, Any]:
    place = embed_place("local", device, None)
    rule = precision_rule("local", device, {})
    order = EmbedOrder(plans_of(resolve(), ["bundled-glyphs"], place, rule), place)
    with ExitStack() as held:
        return reserve(order, held)[-1], place


def test_a_machine_with_other_data_encoder_or_arithmetic_embeds_nothing() -> None:
    part, place = one_part()
    for other, says in (
        (replace(part, fingerprint="0" * 64), "is not what was planned"),
        (replace(part, identity={**part.identity, "weights_sha256": "0"}), "in weights_sha256"),
        (replace(part, identity={**part.identity, "precision": "bfloat16"}), PRECISION_VARIABLE),
    ):
        outcome = other.run(place, no_progress)
        assert outcome.status == "failed" and says in outcome.message
    assert stored_rows() == 0
    assert part.run(place, no_progress).status == "finished"


def test_gpus_elsewhere_decide_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder("bundled-glyphs")
    monkeypatch.setattr(encoder, "needs_float32", False, raising=False)
    assert precision_rule("slurm", "cuda", {})(encoder, CPU) == "bfloat16"
    assert precision_rule("slurm", "auto", {"gpus": 1})(encoder, CPU) == "bfloat16"
    assert precision_rule("slurm", "cpu", {"gpus": 1})(encoder, CPU) == "float32"
    assert precision_rule("local", "cuda", {})(encoder, CPU) == "float32"
    monkeypatch.setenv(PRECISION_VARIABLE, "float32")
    assert precision_rule("ray", "cuda", {})(encoder, CPU) == "float32"


def test_a_shard_that_came_home_is_written_once_and_known_to_the_next_try() -> None:
    post, cache = Post(), EmbeddingCache()
    post.send("entry", "00000000000000000001-00112233445566aa.safetensors", b"first")
    assert post.has_sent("entry", "00112233445566aa")
    assert not post.has_sent("other", "00112233445566aa")
    (news,) = post.take()
    cache.take(*news.content)
    cache.take(*news.content[:2], b"second")
    assert (cache.folder / "entry" / news.content[1]).read_bytes() == b"first"


# Ends in the middle


def test_a_process_that_is_killed_begins_again_after_its_last_shard(tmp_path: Path) -> None:
    once = "(FOLDER / 'died').exists() or ((FOLDER / 'died').touch(), os.kill(os.getpid(), 9))"
    plugins = EmbeddingPlugins(tmp_path / "plugins", f"n == 4 and ({once})")
    words = [*plugins.words, "--part-size", "3000"]
    done = invoke(*words, "--jobs", "1")
    assert len({pid for pid, _, _ in plugins.batches()}) == 2
    # The first shard stays; of the second both batches are repeated.
    assert plugins.n_embedded() == N + 2 * BATCH
    assert "[2/2]" in done.stderr


@pytest.mark.slow
def test_a_process_that_always_dies_fails_its_part_after_three_tries(tmp_path: Path) -> None:
    plugins = EmbeddingPlugins(tmp_path / "plugins", "os.kill(os.getpid(), 9)")
    done = invoke(*plugins.words, "--part-size", "3000", code=1)
    assert "was killed by SIGKILL" in done.stderr
    assert len(plugins.batches()) == 6
    assert "Repeat the same command" in done.stderr


@pytest.mark.parametrize(
    ("number", "code", "jobs"),
    [
        pytest.param(signal.SIGINT, 130, "2", id="Ctrl-C-2", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 75, "1", id="SIGTERM-1"),
        pytest.param(signal.SIGKILL, -9, "2", id="SIGKILL-2", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, "1", id="Ctrl-C-1", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 75, "2", id="SIGTERM-2", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, "1", id="SIGKILL-1", marks=pytest.mark.slow),
    ],
)
def test_the_same_command_embeds_only_the_rest(
    number: int, code: int, jobs: str, tmp_path: Path
) -> None:
    slow = "n > 2 and (FOLDER / 'slow').exists() and time.sleep(1)"
    plugins = EmbeddingPlugins(tmp_path / "plugins", slow)
    (plugins.folder / "slow").touch()
    words = [sys.executable, "-m", "nlbench", *plugins.words, "--jobs", jobs]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + WAIT_S
    while len(plugins.batches()) < 3:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, said
    if number == signal.SIGINT:
        assert "Stopped: " in said and "The same command goes on from here." in said
    assert "Traceback" not in said
    for pid in {pid for pid, _, _ in plugins.batches()}:
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
    n_before = stored_rows()
    assert n_before < N
    (plugins.folder / "slow").unlink()
    n_begun = plugins.n_embedded()
    again = subprocess.run(words, capture_output=True, text=True, timeout=WAIT_S)
    assert again.returncode == 0, again.stderr
    assert plugins.n_embedded() - n_begun == N - n_before
    assert stored_rows() == N


@pytest.mark.slow
def test_a_time_limit_ends_it_with_75_and_each_command_gets_further(
    plugins: EmbeddingPlugins,
) -> None:
    codes = []
    while not codes or codes[-1] == 75:
        done = CliRunner().invoke(app, [*plugins.words, "--max-time", "0.01s"])
        codes.append(done.exit_code)
        assert len(codes) < 8, done.stderr
    assert codes == [75] * 3 + [0]
    assert plugins.n_embedded() == N
    files = [plugins.data, plugins.encoder]
    assert len(nlbench.embed("dots", ["tracked"], plugins=files, max_time_s=0.01)) == 1


def test_python_is_told_of_an_early_end(plugins: EmbeddingPlugins) -> None:
    with pytest.raises(PausedError, match="ends early"):
        nlbench.embed(
            "dots", ["tracked"], plugins=[plugins.data, plugins.encoder], part_size=1,
            max_time_s=0.01,
        )  # fmt: skip


# What is shown


def test_a_dry_run_embeds_nothing(plugins: EmbeddingPlugins) -> None:
    said = invoke(*plugins.words, "--dry-run").stdout
    assert said == "tracked: 2816 of 2816 different images to embed, 4 parts\n"
    content = json.loads(invoke(*plugins.words, "--dry-run", "--json").stdout)
    assert content["encoders"][0]["missing"] == N
    assert plugins.n_embedded() == 0


def test_the_cache_says_what_is_complete_and_whether_shards_were_merged_since() -> None:
    invoke("embed", "--encoder", "bundled-glyphs")
    said = invoke("cache", "info").stdout
    assert "complete: 1797 images in 2 shards\n" in said
    (entry,) = entries()
    shard = read_shard(shard_files(entry)[-1])
    assert shard is not None
    keys = shard.keys[:1].copy()
    keys[0] = b"another image of another data set"[:32]
    metadata = json.loads(next(entry.glob("*.json")).read_text())["encoder"]
    write_shard(entry, Shard(keys, shard.embeddings[:1]), metadata)
    merge_small(entry, metadata)
    assert "shards were merged since" in invoke("cache", "info").stdout
    invoke("embed", "--encoder", "bundled-glyphs")
    assert "complete: 1797 images in 2 shards\n" in invoke("cache", "info").stdout


def test_merged_shards_do_not_depend_on_which_process_was_first(tmp_path: Path) -> None:
    rows = torch.arange(12.0).reshape(6, 2)
    images = np.array([bytes([i]) * 32 for i in range(6)], dtype="S32")
    parts = [
        Shard(images[:2], rows[:2]),
        Shard(images[2:3], rows[2:3]),
        Shard(images[3:], rows[3:]),
    ]
    merged = set()
    for order in itertools.permutations(parts):
        entry = tmp_path / str(len(list(tmp_path.iterdir())))
        entry.mkdir()
        for part in order:
            write_shard(entry, part, {})
        merge_small(entry, {})
        (path,) = shard_files(entry)
        shard = read_shard(path)
        assert shard is not None
        merged.add((path.stem.partition("-")[2], bytes(shard.embeddings.numpy())))
    assert len(merged) == 1


@pytest.mark.slow
def test_a_second_command_waits_for_the_first_and_embeds_nothing(tmp_path: Path) -> None:
    plugins = EmbeddingPlugins(tmp_path / "plugins", "time.sleep(0.3)")
    words = [sys.executable, "-m", "nlbench", *plugins.words]
    both = [
        subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=2 * WAIT_S)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert plugins.n_embedded() == N
    assert sorted("nothing to embed" in text for text in said) == [False, True]


def test_no_store_of_runs_is_touched() -> None:
    nlbench.embed("digits", ["bundled-glyphs"])
    assert RunStore().records() == ([], [])
    assert not (Path(os.environ["NLBENCH_HOME"]) / "mlflow.db").exists()
