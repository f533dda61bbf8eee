"""What the operating system refuses costs its file, in one line with the next step; no more."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from board_records import make
from click.testing import Result
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.encoders.cache import EmbeddingCache
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore

NOBODY = 65534


@contextmanager
def without_rights() -> Iterator[None]:
    """Be a user whom permissions stop: root reads and writes everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home that other users may enter, which pytest's folders do not let them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    monkeypatch.setenv("NLBENCH_HOME", str(folder))
    monkeypatch.setenv("NLBENCH_CACHE", str(folder / "cache"))
    yield folder
    for path in (p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink()):
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> list[RunRecord]:
    """Two finished runs with samples and galleries, in a home of their own."""
    home = tmp_path_factory.mktemp("done")
    records = [
        nlbench.run("random", noise_rate=0.4, seed=seed, epochs=1, home=home, track=False)
        for seed in (0, 1)
    ]
    with pytest.MonkeyPatch.context() as patch:
        # What is imported late is imported now: without rights not even Python may be readable.
        patch.setenv("NLBENCH_HOME", str(home))
        importlib.import_module("email.policy")
        for words in (
            f"leaderboard --out {home / 'out'}",
            f"export --all --out {home / 'out.json'}",
            f"import {home / 'out.json'}",
            f"show run {records[0].fingerprint}",
            "doctor",
            "cache info",
            "sweep --selector random --noise symmetric:0.4 --epochs 1 --seeds 0,1",
            "sync",
        ):
            assert CliRunner().invoke(app, words.split()).exit_code == 0, words
    return records


@pytest.fixture
def runs(home: Path, done: list[RunRecord], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of the two runs in this test's home."""
    source = next(tmp_path_factory.getbasetemp().glob("done*")) / "runs"
    shutil.copytree(source, home / "runs")
    return [home / "runs" / record.fingerprint for record in done]


def call(*words: str) -> Result:
    """Run a command, which says whatever goes wrong in lines and not in a traceback."""
    logging.getLogger("nlbench").handlers.clear()  # of the command before: its stderr is closed
    result = CliRunner().invoke(app, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def lines_with(path: Path, result: Result) -> list[str]:
    return [line for line in result.output.splitlines() if str(path) in line]


def says(path: Path, step: str, result: Result) -> bool:
    """Return whether one line has the path, and the same one has the next step."""
    return any(step in line for line in lines_with(path, result))


def unreadable(path: Path) -> None:
    path.chmod(0)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def a_broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


STEPS: dict[Callable[[Path], None], str] = {
    unreadable: "Change its permissions",
    a_folder: "A folder is in the place of the file",
    a_loop: "A link in it leads to itself",
    a_broken_link: "a link leads nowhere",
}
SWAPS = pytest.mark.parametrize("swap", STEPS)


@SWAPS
@pytest.mark.parametrize("name", ["selection.parquet", "predictions.parquet"])
def test_samples_that_cannot_be_read_cost_export_and_import_their_run(
    swap: Callable[[Path], None], name: str, runs: list[Path], home: Path, tmp_path: Path
) -> None:
    bad = runs[0] / name
    swap(bad)
    out = home / "out"
    out.mkdir()
    out.chmod(0o777)
    with without_rights():
        result = call("export", "--all", "--out", str(out / "two.json"))
    assert result.exit_code == 0
    assert says(bad, STEPS[swap], result)
    assert "1 run, " in result.stdout
    os.environ["NLBENCH_HOME"] = str(out / "other")
    with without_rights():
        result = call("import", str(home))
    assert says(bad, STEPS[swap], result)
    assert "1 run new here" in result.stdout
    assert result.exit_code == 3
    assert len(RunStore().records()[0]) == 1


@SWAPS
@pytest.mark.parametrize("name", ["selection.parquet", "gallery.json"])
def test_samples_that_cannot_be_read_leave_the_board_and_the_run_visible(
    swap: Callable[[Path], None], name: str, runs: list[Path], home: Path
) -> None:
    bad = runs[0] / name
    swap(bad)
    out = home / "out"
    out.mkdir()
    out.chmod(0o777)
    with without_rights():
        result = call("leaderboard", "--out", str(out / "board"))
        shown = call("show", "run", runs[0].name[:12])
    assert result.exit_code == shown.exit_code == 0
    pages = {path.stem: path for path in (out / "board" / "runs").glob("*.html")}
    assert set(pages) == {run.name[:12] for run in runs}
    assert STEPS[swap] in pages[runs[0].name[:12]].read_text()
    if name == "selection.parquet":
        assert says(bad, STEPS[swap], shown)


@SWAPS
def test_a_record_that_cannot_be_read_stops_no_other(
    swap: Callable[[Path], None], runs: list[Path], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = runs[0] / "record.json"
    swap(bad)
    out = home / "out"
    out.mkdir()
    out.chmod(0o777)
    with without_rights():
        for words in (
            ("leaderboard", "--json"),
            ("leaderboard", "--out", str(out / "board")),
            ("export", "--all", "--out", str(out / "one.json")),
        ):
            result = call(*words)
            assert result.exit_code == 0, result.output
            assert lines_with(bad, result), words
        doctor = call("doctor")
        assert lines_with(bad, doctor)
        assert "1 (0 failed) in " in doctor.stdout
        assert len(nlbench.load_records()) == 1
        assert str(bad) in caplog.text
        if swap is unreadable:
            compared = call("compare", str(bad), runs[1].name)
            assert says(bad, STEPS[swap], compared)


def test_a_run_folder_of_another_user_costs_its_cell(runs: list[Path], home: Path) -> None:
    for path in (home, home / "runs"):
        path.chmod(0o777)
    shutil.rmtree(runs[1])
    runs[0].chmod(0o700)
    words = ("--selector", "random", "--noise", "symmetric:0.4", "--epochs", "1", "--seeds", "0,1")
    with without_rights(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("nlbench.runner.workplace.open_tracker", lambda uri, store: None)
        result = call("sweep", *words)
    assert result.exit_code == 1
    assert says(runs[0], "Change its permissions", result)
    assert (runs[1] / "record.json").is_file()


@pytest.mark.parametrize("where", ["runs", "cache"])
def test_a_folder_that_cannot_be_listed_does_not_pass_for_an_empty_one(
    where: str, runs: list[Path], home: Path
) -> None:
    EmbeddingCache().get({"encoder": "e", "data": "d"}, 3, lambda shards: iter([torch.ones(3, 2)]))
    folder = home / where if where == "runs" else home / "cache" / "embeddings"
    folder.chmod(0)
    commands = {
        "runs": [("leaderboard",), ("export", "--all", "--out", "x.json")],
        "cache": [("cache", "info"), ("cache", "clear")],
    }
    with without_rights():
        for words in commands[where]:
            result = call(*words)
            assert result.exit_code == 1, words
            assert says(folder, "Change its permissions", result), words
        doctor = call("doctor")
        assert says(folder, "Change its permissions", doctor)
        assert "mlflow store" in doctor.stdout
    folder.chmod(0o755)


@pytest.mark.parametrize("clear", ["clear", "info"])
def test_an_entry_of_the_cache_that_is_not_ours_keeps_no_other(home: Path, clear: str) -> None:
    cache = EmbeddingCache()
    for data in ("a", "b"):
        cache.get({"encoder": data, "data": data}, 3, lambda shards: iter([torch.ones(3, 2)]))
    pixels = home / "cache" / "pixels"
    pixels.mkdir()
    (pixels / "x.uint8").write_bytes(b"123")
    for path in (cache.folder, pixels):
        path.chmod(0o777)
    mine, other = sorted(path for path in cache.folder.iterdir() if path.is_dir())
    for path in (mine, mine.with_suffix(".lock")):
        path.chmod(0o777)
    other.chmod(0o700)
    with without_rights():
        result = call("cache", clear)
        assert says(other, "Change its permissions", result)
        assert "problem" in str(call("doctor").stdout) or says(
            other, "Change its permissions", call("doctor")
        )
    assert mine.exists() == (clear == "info")
    assert (pixels / "x.uint8").exists() == (clear == "info")
    assert result.exit_code == (1 if clear == "clear" else 0)
    other.chmod(0o755)


@pytest.mark.parametrize("in_the_way", ["a file for its folder", "no permission", "a shard"])
def test_embeddings_that_cannot_be_stored_are_one_line_of_their_run(
    in_the_way: str, home: Path
) -> None:
    cache = EmbeddingCache()
    identity = {"encoder": "e", "data": "d"}
    if in_the_way == "a file for its folder":
        cache.folder.parent.mkdir()
        cache.folder.touch()
        bad, step = cache.folder, "A file is in the place of a folder"
    else:
        cache.get(identity, 3, lambda shards: iter([torch.ones(3, 2)]))
        bad, step = next(p for p in cache.folder.iterdir() if p.is_dir()), "Change its permissions"
        bad = next(bad.iterdir()) if in_the_way == "a shard" else bad
        bad.chmod(0)
        for path in (cache.folder, *cache.folder.glob("*.lock")):
            path.chmod(0o777)
    with without_rights(), pytest.raises(nlbench.NlbenchError) as caught:
        cache.get(identity, 3, lambda shards: iter([torch.ones(3, 2)]))
    assert str(bad) in str(caught.value)
    assert step in str(caught.value)
    assert "\n" not in str(caught.value)


# Files that are written ---------------------------------------------------------------------------


def full(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Let the disk be full for files with this in their path."""
    real = tempfile.mkstemp

    def mkstemp(**where: Any) -> tuple[int, str]:
        if part in "{dir}/{prefix}".format(**where):
            raise OSError(errno.ENOSPC, "No space left on device", str(where["dir"]))
        return real(**where)

    monkeypatch.setattr("nlbench.files.tempfile.mkstemp", mkstemp)


@pytest.mark.parametrize("part", ["leaderboard.md", "index.html", "/runs/."])
def test_a_full_disk_costs_the_leaderboard_one_file(
    part: str, runs: list[Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = home / "board"
    assert call("leaderboard", "--out", str(out)).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    RunStore().write(make())
    full(monkeypatch, part)
    result = call("leaderboard", "--out", str(out))
    assert result.exit_code == 1
    assert "Free some space on that disk" in result.output
    assert "could not be written, see above" in result.output
    for path, content in before.items():
        assert path.read_bytes(), path
        if part in f"{path.parent}/.{path.name}":
            assert path.read_bytes() == content
    assert "knn" in (out / "leaderboard.csv").read_text() or any(
        "knn" in path.read_text() for path in out.glob("*.csv")
    )
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize("name", ["index.html", "leaderboard.md", "runs"])
def test_what_is_in_the_place_of_a_file_of_the_leaderboard_costs_that_file(
    name: str, runs: list[Path], home: Path
) -> None:
    out = home / "board"
    out.mkdir()
    if name == "runs":
        (out / name).write_text("mine")
    else:
        (out / name).mkdir()
        (out / name / "mine").touch()
    result = call("leaderboard", "--out", str(out))
    assert result.exit_code == 1
    assert says(out / name, "move it away", result)
    assert (out / "leaderboard.json").is_file()
    assert (out / name).read_text() == "mine" if name == "runs" else (out / name / "mine").exists()


OUTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a folder": (lambda home: home / "runs", "A folder is in the place of the file"),
    "below a file": (lambda home: home / "file" / "x.json", "A file is in the place of a folder"),
    "too long": (lambda home: home / ("n" * 300), "Choose a shorter name"),
    "not ours": (lambda home: home / "closed" / "x.json", "Change its permissions"),
    "a loop": (lambda home: home / "loop" / "x.json", " link "),
}


@pytest.mark.parametrize("out", OUTS)
@pytest.mark.parametrize("command", [("export", "--all"), ("leaderboard",)])
def test_a_place_that_takes_no_file_is_one_line(
    out: str, command: tuple[str, ...], runs: list[Path], home: Path
) -> None:
    place, step = OUTS[out]
    (home / "file").touch()
    (home / "closed").mkdir(0o555)
    for path in (home, home / "runs"):
        path.chmod(0o777)
    (home / "loop").symlink_to(home / "loop")
    if out == "a folder" and command == ("leaderboard",):
        pytest.skip("the leaderboard goes into a folder")
    with without_rights():
        result = call(*command, "--out", str(place(home)))
    assert result.exit_code == 1
    assert step in result.output
    assert str(place(home))[:60] in result.output.replace("\n", "")


def test_a_full_disk_leaves_the_older_export(
    runs: list[Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = home / "mine.json"
    assert call("export", "--all", "--out", str(out)).exit_code == 0
    before = out.read_bytes()
    RunStore().write(make())
    full(monkeypatch, "mine.json")
    result = call("export", "--all", "--out", str(out))
    assert result.exit_code == 1
    assert says(out, "Free some space on that disk", result)
    assert out.read_bytes() == before


def test_import_goes_on_after_a_run_that_cannot_be_put_here(
    runs: list[Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = home / "here"
    (here / "runs").mkdir(parents=True)
    (here / "runs" / runs[0].name).touch()
    monkeypatch.setenv("NLBENCH_HOME", str(here))
    result = call("import", str(home))
    assert result.exit_code == 3
    assert says(here / "runs" / runs[0].name, "A file is in the place of a folder", result)
    assert [record.fingerprint for record in RunStore().records()[0]] == [runs[1].name]


def test_sync_goes_on_after_files_that_cannot_be_stored(runs: list[Path], home: Path) -> None:
    def write(seed: int) -> None:
        for number in range(4):
            change = {"dataset__name": f"set-{number}", "dataset__fingerprint": f"d{number}"}
            RunStore().write(make(f"m{number}", seed, **change))

    write(0)
    assert call("sync").exit_code == 0
    artifacts = home / "mlflow" / "artifacts"
    write(1)
    write(2)
    closed = sorted(p for p in artifacts.glob("*/*/*") if p.name.startswith("set-"))
    assert len(closed) >= 3, list(artifacts.rglob("*"))[:40]
    closed = closed[:3]
    for path in closed:
        shutil.rmtree(path)
        path.touch()
    result = call("sync")
    assert result.exit_code == 1
    assert "gave up" not in result.output
    assert all(f"set-3-symmetric-0.40 m3 s{seed}: filled" in result.output for seed in (1, 2))
    for path in closed:
        assert says(path, "A file is in the place of a folder", result)


def test_data_check_names_a_folder_that_cannot_be_read(home: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        folder = home / "images" / name
        folder.mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (8, 8), (i * 9, len(name) * 40, 255 * (i % 2))).save(
                folder / f"{name}{i}.png"
            )
    (home / "images" / "dog" / "dog3.png").chmod(0)
    with without_rights():
        result = call("data", "check", f"folder:{home / 'images'}")
    assert "dog3.png" in result.output
    (home / "images" / "cat").chmod(0)
    with without_rights():
        result = call("data", "check", f"folder:{home / 'images'}")
    assert result.exit_code == 3
    assert lines_with(home / "images" / "cat", result)
