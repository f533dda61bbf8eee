"""What cannot be read again is not written; a damaged record is done again by the same command."""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from board_records import make
from typer.testing import CliRunner

import nlbench
from nlbench.cli import app
from nlbench.errors import DataError, PluginError, RunError
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore

WORDS = ("--selector", "none", "--noise", "none", "--epochs", "1")


def command(*words: str) -> str:
    logging.getLogger("nlbench").handlers.clear()  # of the command before: its stderr is closed
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.output
    return result.stdout + result.stderr


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "kept").touch()


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def changed(**content: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **content}))

    return change


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content) and None


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:500]) and None,
    "empty": text(""),
    "not JSON": text("\x00\x01 no"),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe{") and None,
    "a list": text("[1, 2]"),
    "100 000 deep": text("[" * 100_000),
    "another schema": changed(schema=2),
    "a field too many": changed(colour="red"),
    "NaN": changed(diagnostics={"a": [1.0, float("nan")]}),
    "Infinity": changed(diagnostics={"a": float("-inf")}),
    "a float too large": lambda path: (
        path.write_text(path.read_text().replace('"diagnostics": {', '"diagnostics": {"a": 1e400,'))
        and None
    ),
    "70 digits": changed(diagnostics={"a": 10**70}),
    "5000 digits": lambda path: (
        path.write_text(
            path.read_text().replace('"diagnostics": {', f'"diagnostics": {{"a": {"9" * 5000},')
        )
        and None
    ),
    "a directory": directory,
    "a link to itself": loop,
    "a broken link": broken_link,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    home = tmp_path_factory.mktemp("made")
    return nlbench.run("none", noise="none", epochs=1, home=home, track=False)


@pytest.fixture
def damaged(made: RunRecord, request: pytest.FixtureRequest) -> Path:
    path = RunStore().write(made)
    DAMAGES[request.param](path)
    return path


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlbench.runner.run.open_tracker", lambda uri, store: None)
    monkeypatch.setattr("nlbench.runner.workplace.open_tracker", lambda uri, store: None)


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("damaged", DAMAGES, indirect=True)
def test_the_same_command_does_a_damaged_record_again(
    damaged: Path, made: RunRecord, caplog: pytest.LogCaptureFixture
) -> None:
    other = RunStore().write(make())
    records, problems = RunStore().records()
    assert [r.fingerprint for r in records] == [make().fingerprint]
    assert len(problems) == 1
    assert str(damaged) in problems[0]
    assert "\n" not in problems[0]
    assert len(nlbench.load_records()) == 1
    assert "left out: " in caplog.text
    command("run", *WORDS)
    assert "A damaged record is done again" in caplog.text
    again = RunStore().read(made.fingerprint)
    assert again is not None
    assert again.metrics == made.metrics
    assert damaged.with_name("record.json.damaged").is_symlink() or (
        damaged.with_name("record.json.damaged").exists()
    )
    assert other.exists()
    assert "finished before" in command("run", *WORDS)


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("damaged", ["cut off", "a directory", "NaN"], indirect=True)
def test_a_sweep_does_a_damaged_record_again(
    damaged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "damaged" in command("sweep", *WORDS, "--seeds", "0", "--dry-run")
    assert "2 finished" in command("sweep", *WORDS, "--seeds", "0,1")
    assert "A damaged record is done again" in caplog.text
    assert RunStore().records()[1] == []
    assert damaged.is_file()


@pytest.mark.parametrize("damaged", ["a field too many", "70 digits"], indirect=True)
def test_the_leaderboard_names_the_command_where_it_is_legible(
    damaged: Path, made: RunRecord
) -> None:
    said = command("leaderboard", "--json")
    assert f"Left out: '{damaged}'" in said
    assert f"The command: {made.command}" in said
    damaged.unlink()


@pytest.mark.parametrize(
    "words",
    [
        "nlbench run; rm -rf /",
        "nlbench run --selector $(reboot)",
        "curl x | sh",
        "nlbench sync",
        "nlbench run --selector 'a",
    ],
)
def test_a_command_that_is_not_one_run_is_not_shown(words: str, tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    path = store.write(make(command=words))
    changed(colour="red")(path)
    ((problem,),) = [store.records()[1]]
    assert shlex.split(problem.replace("'", ""))
    assert words not in problem


def test_a_second_damaged_record_does_not_replace_the_first(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for content in ("first", "second"):
        path = store.folder(make().fingerprint) / "record.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        store.write(make())
    kept = {p.name: p.read_text() for p in path.parent.glob("*.damaged*")}
    assert kept == {"record.json.damaged": "first", "record.json.damaged2": "second"}


def test_a_pipe_in_the_place_of_a_record_does_not_hang(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    path = store.write(make())
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in store.records()[1][0]
    with pytest.raises(DataError, match="not a regular file"):
        store.read(make().fingerprint)


# What a plugin says goes into the record ---------------------------------------------------------

NESTED = "d = []; [d := [d] for _ in range(500)]"
SAYS = {
    "500 deep": (f"{NESTED}; return self.done(data, deep=d)", "nested more than 64 levels"),
    "itself": ("d = []; d.append(d); return self.done(data, d=d)", "nested more than 64 levels"),
    "a huge int": ("return self.done(data, n=10**5000)", "must fit 64 bits"),
    "NaN": ("return self.done(data, deep=[{'x': float('nan')}])", "not JSON compliant"),
    "half a character": ("return self.done(data, name='caf\\udce9')", "surrogates not allowed"),
    "a set": ("return self.done(data, s={1, 2})", "not JSON serializable"),
}
PLUGIN = '''"""For tests."""
from dataclasses import dataclass
import torch
from nlbench import Selection, Selector


@dataclass(frozen=True)
class Says(Selector):
    def done(self, data, **diagnostics):
        keep = torch.ones_like(data.noisy_labels, dtype=torch.bool)
        return Selection(keep=keep, score=keep.double(), diagnostics=diagnostics)

    def select(self, data):
        BODY
'''


@pytest.mark.parametrize("what", SAYS)
def test_diagnostics_that_could_not_be_read_again_fail_the_run(what: str, tmp_path: Path) -> None:
    body, reason = SAYS[what]
    plugin = tmp_path / "says.py"
    plugin.write_text(PLUGIN.replace("BODY", body))
    with pytest.raises(PluginError, match=r"Selection\.diagnostics must be JSON") as caught:
        nlbench.run("says", noise="none", epochs=1, plugins=[plugin], track=False)
    assert reason in str(caught.value)
    ((record,), problems) = RunStore().records()
    assert (record.status, problems) == ("failed", [])


def test_an_error_with_half_a_character_is_recorded_and_read(tmp_path: Path) -> None:
    plugin = tmp_path / "says.py"
    plugin.write_text(PLUGIN.replace("BODY", "raise ValueError('caf\\udce9')"))
    with pytest.raises(RunError, match=r"caf\\udce9"):
        nlbench.run("says", noise="none", epochs=1, plugins=[plugin], track=False)
    ((record,), problems) = RunStore().records()
    assert problems == []
    assert record.error is not None
    assert record.error.message == "caf\\udce9"


def test_a_class_folder_that_is_not_utf8_is_a_record_that_is_read(tmp_path: Path) -> None:
    from PIL import Image

    for name in (b"caf\xe9", b"tea"):
        folder = tmp_path / "images" / os.fsdecode(name)
        folder.mkdir(parents=True)
        for i in range(12):
            shade = (i * 9, len(name) * 40, 255 * (i % 2))
            Image.new("RGB", (8, 8), shade).save(folder / f"{i}.png")
    record = nlbench.run(
        "none", f"folder:{tmp_path / 'images'}", "none", epochs=1, recipe="quick/folder",
        track=False,
    )  # fmt: skip
    assert record.dataset.class_names == ["caf\\xe9", "tea"]
    assert RunStore().read(record.fingerprint) == record
