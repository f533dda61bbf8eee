"""LaTeX, Parquet and the flat tables: complete, escaped, and the same numbers everywhere."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from board_records import make
from test_leaderboard_build import HOSTILE, hostile, sample, write
from test_leaderboard_verdict import contest

from nlbench.errors import ConfigError
from nlbench_leaderboard.build import FORMATS, build, checked_formats, content_of
from nlbench_leaderboard.formats.latex import to_latex
from nlbench_leaderboard.formats.markdown import MOST_PAIRS, to_markdown
from nlbench_leaderboard.formats.tables import tables_of, to_csv
from nlbench_leaderboard.ranking.rank import rank_boards

# What LaTeX reads as something else than itself; a backslash before it makes it itself.
SPECIAL = re.compile(r"(?<!\\)[%#_^~]")


def body(text: str) -> list[str]:
    """Return the lines of the tabulars."""
    return [line for line in text.splitlines() if line.endswith(r" \\")]


def assert_braces_match(text: str) -> None:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_prints_hostile_text_as_it_is(text: str) -> None:
    boards = rank_boards(hostile(text))
    shown = to_latex(boards).split("\n\n", 1)[1]
    assert_braces_match(shown)
    assert not SPECIAL.search(shown.replace(r"\%", "").replace("$n$", ""))
    for line in body(shown):
        assert not line.startswith(("[", "*"))  # an argument of the line break above
        assert len(re.findall(r"(?<!\\)&", line)) == 7
    assert shown.isascii() or max(map(ord, shown)) < 256
    for command in re.findall(r"\\([a-zA-Z]+)", shown):
        assert command in COMMANDS


COMMANDS = {
    *("begin", "end", "centering", "caption", "label", "toprule", "midrule", "bottomrule", "pm"),
    *("emph", "textbf", "underline", "texttt", "ge", "textbackslash", "textasciitilde", "char"),
    *("textasciicircum", "textless", "textgreater", "textbar", "ldots", "cdot", "dagger"),
}


def test_latex_marks_the_best_and_what_is_not_separable_from_it() -> None:
    lines = {line.split(" & ")[0]: line for line in body(to_latex(rank_boards(contest())))}
    assert r"\textbf{92.00} $\pm$ " in lines["best"]
    assert r"\underline{90.20} $\pm$ " in lines["close"]
    assert "\\" not in lines["far"].split(" & ")[1].replace(r"$\pm$", "")
    assert lines[r"oracle \emph{(upper bound)}"].split(" & ")[2] == "5"
    text = to_latex(rank_boards(contest()))
    assert "of 5 seeds" in text
    assert r"Protocol v1 (SHA-256 \texttt{p1})" in text
    assert "Holm-corrected over the comparisons with the best, has $p < 0.05$" in text
    assert "digits, 40 \\% symmetric noise: mean" in text
    assert lines["far"].split(" & ")[3].startswith("$-$41.00 ($-$")
    assert lines["best"].split(" & ")[3] == "--"
    assert r"\dagger" not in text
    assert r"\label{tab:digits-symmetric-0.40-v1}" in text


def test_latex_says_why_nothing_is_underlined() -> None:
    text = to_latex(rank_boards(contest(3)))
    assert "what is not separable from it is not marked, that needs 5 seeds" in text
    assert r"\underline" not in text


def test_latex_shows_what_failed_and_what_lacks_seeds() -> None:
    lines = {line.split(" & ")[0]: line for line in body(to_latex(rank_boards(sample())))}
    assert r"\emph{failed}" in lines["dead"]
    assert lines["crash"].split(" & ")[2] == "1 of 3"


@pytest.mark.parametrize("records", [sample(), contest(), *map(hostile, HOSTILE), []])
def test_parquet_and_csv_hold_the_same(records: list[object], tmp_path: Path) -> None:
    written = build(content_of(rank_boards(records)), tmp_path)  # type: ignore[arg-type]
    assert [p.name for p in written["parquet"]] == [
        p.name.replace("csv", "parquet") for p in written["csv"]
    ]
    for columnar, text in zip(written["parquet"], written["csv"], strict=True):
        table = pq.read_table(columnar)
        lines = list(csv.DictReader(io.StringIO(text.read_text())))
        assert table.column_names == text.read_text().splitlines()[0].split(",")
        assert table.num_rows == len(lines)
        for row, line in zip(table.to_pylist(), lines, strict=True):
            for name, value in row.items():
                if isinstance(value, str):
                    assert line[name].removeprefix("'") == value.removeprefix("'")
                else:
                    assert (float(line[name]) if line[name] else None) == value


def test_the_types_of_parquet_do_not_depend_on_what_was_measured(tmp_path: Path) -> None:
    write([], tmp_path / "empty")
    write(contest(), tmp_path / "full")
    for name in ("boards", "leaderboard", "comparisons", "runs"):
        empty, full = (pq.read_schema(tmp_path / d / f"{name}.parquet") for d in ("empty", "full"))
        assert empty.equals(full)


def test_the_tables_say_what_the_board_says() -> None:
    boards = rank_boards(contest())
    tables = tables_of(boards)
    results = {line["method"]: line for line in tables["leaderboard"].lines}
    assert results["close"]["versus_best"] == "not separable"
    assert results["far"]["versus_none"] == "better"
    assert results["far"]["to_best_mean"] == pytest.approx(-0.41)
    assert results["far"]["to_best_high"] < 0 < results["close"]["to_best_high"]
    assert results["best"]["gap_closed"] == pytest.approx(0.518 / 0.568)
    (line,) = tables["boards"].lines
    assert line["headline"].startswith("Best: best, 92.0 %.")
    (pair,) = (
        line
        for line in tables["comparisons"].lines
        if (line["first"], line["second"]) == ("best", "far")
    )
    assert pair["difference"] == pytest.approx(0.42 - 0.01)
    assert pair["t_p_holm"] < 0.05
    assert len(tables["runs"].lines) == 25
    record = boards[0].rows[0].runs[0].record
    line = next(x for x in tables["runs"].lines if x["fingerprint"] == record.fingerprint)
    assert line["dataset"] == record.dataset.name
    assert (line["noise"], line["noise_rate"]) == (record.noise.kind, record.noise.nominal_rate)
    assert (line["selector"], line["trainer"]) == (record.selector.name, record.trainer.name)
    assert json.loads(line["selector_params"]) == record.selector.params
    assert json.loads(line["trainer_params"]) == record.trainer.params


def test_only_the_formats_that_were_asked_for_are_written(tmp_path: Path) -> None:
    build(content_of(rank_boards(sample())), tmp_path, checked_formats(["latex", "html"]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html", "leaderboard.tex", "runs"]
    page = (tmp_path / "index.html").read_text()
    assert 'href="leaderboard.tex"' in page
    assert 'href="leaderboard.csv"' not in page
    assert checked_formats([]) == list(FORMATS)
    with pytest.raises(ConfigError, match="Did you mean 'latex'"):
        checked_formats(["latx"])


def test_a_board_with_many_rows_prints_the_pairs_with_the_best_only() -> None:
    boards = rank_boards([make(f"s{i:02d}", s, 0.9 - i / 100) for i in range(30) for s in (0, 1)])
    text = to_markdown(boards)
    pairs = text.partition("### Paired comparisons")[2]
    assert len(re.findall(r"^\| s00 \| s\d\d \|", pairs, re.MULTILINE)) == 29 <= MOST_PAIRS
    assert "435 pairs; 29 are shown here, all are in comparisons.csv" in pairs
    assert len(to_csv(tables_of(boards)["comparisons"]).splitlines()) == 436
