"""The tutorial of docs/clean.md, as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nlbench.cli import app

TEXT = (Path(__file__).parents[2] / "docs" / "clean.md").read_text(encoding="utf-8")
TUTORIAL = TEXT.partition("## A first time")[2].partition("\n## ")[0]


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_tutorial_finds_the_digits_that_were_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python", TUTORIAL)
    exec(compile(code, "docs/clean.md", "exec"), {})  # noqa: S102 - our own text
    (commands,) = blocks("sh", TUTORIAL)
    for line in commands.splitlines():
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, result.output
    moved = [f"{i:04d}.png" for i in range(0, 1797, 150)]
    before, after = (
        {p.name: p.parent.name for p in Path(name).rglob("*.png")}
        for name in ("my-digits", "my-digits-cleaned")
    )
    corrected = [name for name in moved if before[name] != after[name]]
    assert len(moved) == 12
    assert len(corrected) >= 9


def test_the_python_of_the_docs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python", TEXT.partition("## In Python")[2].partition("\n## ")[0])
    exec(compile(code, "docs/clean.md", "exec"), {})  # noqa: S102 - our own text
    assert "dog" in capsys.readouterr().out
