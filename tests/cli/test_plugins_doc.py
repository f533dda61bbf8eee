"""What docs/plugins.md says can be typed and pasted, works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import nlbench
import nlbench.conformance
import nlbench.scoring
from nlbench.cli import app
from nlbench.conformance import CHECKS_BY_KIND
from nlbench.conformance.results import short_name
from nlbench.plugins.registry import KINDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("code", PYTHON)
def test_python_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "plugins.md", "exec"), {})  # noqa: S102 - our own text
    if "print" in code:
        share = float(capsys.readouterr().out.split()[0])
        assert share > 0.9


def test_the_way_from_zero_to_a_ranked_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for module in ("run", "workplace"):
        monkeypatch.setattr(f"nlbench.runner.{module}.open_tracker", lambda uri, store: None)
    assert [shlex.split(line)[1] for line in COMMANDS] == [
        "new", "check", "run", "sweep", "leaderboard"
    ]  # fmt: skip
    for line in COMMANDS:
        words = shlex.split(line.replace("0-4", "0").replace("--open", "--json"))
        short = ["--epochs", "1"] if words[1] in ("run", "sweep") else []
        result = CliRunner().invoke(app, [*words[1:], *short])
        assert result.exit_code == 0, (line, result.output)
    assert '"my-idea"' in result.stdout


def test_names_exist() -> None:
    for name in re.findall(r"`nlbench\.([A-Za-z]\w*)[`(]", TEXT):
        assert name in (*nlbench.__all__, *KINDS, "conformance", "scoring"), name
    for module in ("scoring", "conformance"):
        for name in re.findall(rf"nlbench\.{module}\.([a-z]\w+)", TEXT):
            assert name in getattr(nlbench, module).__all__, name
    checks = {short_name(check.__name__) for check in CHECKS_BY_KIND["selectors"]}
    (table,) = re.findall(r"usual cause.*?\n\n", TEXT, re.DOTALL)
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`([\w-]+)`", row[:60])}
    assert named
    assert named <= checks


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert targets
    assert [t for t in targets if not (ROOT / "docs" / t).exists()] == []
