"""The bars of a sweep on a narrow terminal: stage, n/N and time left stay whole."""

from __future__ import annotations

import re

import pytest

from nlbench.cli.sweep_bars import cell_progress
from nlbench.config.resolve import resolve


@pytest.mark.parametrize("columns", [80, 120])
def test_only_the_name_of_a_run_is_cut(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    config = resolve(selector="confident-learning", seed=12, settings={"trainer.lr": 0.123})
    with cell_progress(60) as (starting, _):
        show = starting(config)
        show("train", 0, 300)
        show("train", 27, 300)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    line = next(part for part in reversed(re.split(r"[\r\n]+", text)) if "27/300" in part)
    assert len(line.rstrip()) <= columns
    assert re.search(r"confident-learning .* train .* 27/300 +(\d\d:\d\d|--:--)? +left", line)
