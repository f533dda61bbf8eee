"""``nlbench leaderboard`` as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer
from board_records import make
from test_leaderboard_build import sample
from typer.testing import CliRunner

from nlbench.contribution import encode, read_runs
from nlbench.errors import ConfigError
from nlbench.results.record import RunRecord
from nlbench.results.store import RunStore
from nlbench_leaderboard import command

RECORDS = Path(__file__).parents[2] / "leaderboard" / "records"
TWO = ("co-teaching", "co-teaching-epoch")


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setenv("NLBENCH_HOME", str(tmp_path))
    application = typer.Typer()
    application.command()(command.leaderboard)
    for record in sample():
        RunStore().write(record)
    return application


def test_the_command_prints_the_table_and_where_the_page_is(
    app: typer.Typer, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    assert "digits · 40 % symmetric noise · v1" in result.stdout
    page = tmp_path / "leaderboard" / "index.html"
    assert result.stdout.splitlines()[-1] == f"Leaderboard: {page}"
    assert page.is_file()


def test_the_command_prints_nothing_but_json_on_demand(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "record.json").write_text("{}")
    result = CliRunner().invoke(app, ["--json"])
    content = json.loads(result.stdout)
    assert len(content["problems"]) == 1
    assert "Left out:" in result.stderr
    assert not (tmp_path / "leaderboard").exists()
    assert CliRunner().invoke(app, ["--json", "--open"]).exit_code != 0


def test_the_command_opens_the_page_only_when_asked(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    CliRunner().invoke(app, ["--out", str(tmp_path / "a")])
    assert opened == []
    CliRunner().invoke(app, ["--out", str(tmp_path / "b"), "--open"])
    assert opened == [(tmp_path / "b" / "index.html").as_uri()]


def test_the_command_is_light_to_import() -> None:
    code = (
        "import sys, nlbench_leaderboard.command\n"
        "heavy = {'torch', 'scipy', 'pydantic', 'jinja2', 'mlflow', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_reads_a_tracking_server(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read_records(uri: str) -> tuple[list[RunRecord], list[str]]:
        asked.append(uri)
        return [make("from the server")], ["run 7 holds no record"]

    module = types.ModuleType("nlbench.tracking")
    module.read_records = read_records  # type: ignore[attr-defined]
    module.settle_left_open = lambda store, uri: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nlbench.tracking", module)
    result = CliRunner().invoke(app, ["--tracking-uri", "sqlite:///x.db"])
    assert asked == ["sqlite:///x.db"]
    assert "from the server" in result.stdout
    assert "run 7 holds no record" in result.stderr
    assert "run 7 holds no record" in (tmp_path / "leaderboard" / "index.html").read_text()


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    """Return a folder with two files of runs, as `nlbench export` writes them."""
    folder = tmp_path / "handed in"
    folder.mkdir()
    runs = read_runs(RECORDS / "digits-co-teaching.json")
    for name in TWO:
        mine = [run for run in runs if run.record.selector.name == name]
        (folder / f"{name}.json").write_text(encode(mine), encoding="utf-8")
    return folder


def ranked(app: typer.Typer, *arguments: str) -> set[str]:
    result = CliRunner().invoke(app, ["--json", *arguments])
    assert result.exit_code == 0, result.output
    return {row["method"] for board in json.loads(result.stdout)["boards"] for row in board["rows"]}


def test_records_are_added_or_ranked_alone(app: typer.Typer, handed_in: Path) -> None:
    records = ["--records", str(handed_in)]
    assert ranked(app, *records) >= {"knn", *TWO}
    assert ranked(app, *records, "--only-records") == set(TWO)


def test_records_may_be_files(app: typer.Typer, handed_in: Path) -> None:
    files = [["--records", str(handed_in / f"{name}.json")] for name in TWO]
    assert ranked(app, *files[1], "--only-records") == {TWO[1]}
    assert ranked(app, *files[0], *files[1], "--only-records") == set(TWO)


@pytest.mark.parametrize("more", [[], ["--records", "x", "--tracking-uri", "sqlite:///x.db"]])
def test_only_records_needs_records_and_no_server(app: typer.Typer, more: list[str]) -> None:
    result = CliRunner().invoke(app, ["--only-records", *more])
    assert isinstance(result.exception, ConfigError)
    assert "--records" in str(result.exception) or "--tracking-uri" in str(result.exception)
