"""Boards as tables for the terminal; made to read well at 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nlbench_leaderboard.escape import shorten
from nlbench_leaderboard.formats.headline import headline
from nlbench_leaderboard.formats.markdown import group_lines, summary
from nlbench_leaderboard.formats.numbers import NEXT_COMMAND, NOT_SEPARABLE, percent, points
from nlbench_leaderboard.formats.warnings import disagreement_lines
from nlbench_leaderboard.ranking.across import Across
from nlbench_leaderboard.ranking.board import Board, Row
from nlbench_leaderboard.ranking.notes import SEVERAL

_LEGEND = (
    "Percent. Accuracy: test set, last epoch, ± half the 95 % t-interval over n seeds. "
    "To best: mean paired difference in points; luck: paired t-test at 5 %, Holm-corrected over "
    "the comparisons with the best. Bounds (–) are not ranked; a rank in parentheses rests on "
    f"fewer seeds; {NOT_SEPARABLE}: not separable from the best."
)
_COLUMNS = {
    "F1": "selection_f1",
    "AUROC": "selection_auroc",
    "Kept": "kept_fraction",
}


def summary_table(boards: Sequence[Board], across: Sequence[Across] = ()) -> RenderableType:
    """Return all boards as one renderable: per board a table, warnings and notes; then a legend."""
    if not boards:
        return Text(f"No runs yet. Next: {NEXT_COMMAND}")
    parts: list[RenderableType] = []
    for board in boards:
        parts += [*_headline(board), _table(board), *_warnings(board), *_notes(board), Text()]
    for one in across:
        parts += [*_across(one), Text()]
    return Group(*parts, Text(_LEGEND, style="dim"))


def _table(board: Board) -> Table:
    # Text objects throughout: a name like "[red]" must not be read as markup.
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("#", justify="right", no_wrap=True)
    # The one column that may shrink: rich narrows columns that may wrap before all others. The
    # cells themselves do not wrap (see below), they end in an ellipsis.
    table.add_column("Method")
    accuracy = "Accuracy" if not board.against_noisy_labels else "Accuracy vs\nnoisy labels"
    for title in (accuracy, "n", "To best", *_COLUMNS):
        table.add_column(title, justify="right", no_wrap=True)
    for row in board.main_rows:
        style = "" if row.rank is not None else "dim" if row.accuracy else "yellow"
        cells = (Text(cell, no_wrap=True, overflow="ellipsis") for cell in _cells(row))
        table.add_row(*cells, style=style)
    return table


def _cells(row: Row) -> list[str]:
    return [
        row.rank_text + (NOT_SEPARABLE if row.verdict == "not separable" else ""),
        shorten(row.name, 60),
        _accuracy(row),
        str(row.n) if row.is_complete else f"{row.n}/{row.n_expected}",
        points(row.to_best.mean) if row.to_best else "–",
        *(percent(row.stats[k].mean, 1) if k in row.stats else "–" for k in _COLUMNS.values()),
    ]


def _accuracy(row: Row) -> str:
    if row.accuracy is None:
        return row.status
    half = row.accuracy.half_width
    # The spread is padded, so that the means stand below each other.
    spread = "  1 seed" if half is None else f" ± {percent(half):>5}"
    return f"{percent(row.accuracy.mean)}{spread}"


def _warnings(board: Board) -> list[RenderableType]:
    lines = [shorten(line, 600) for line in disagreement_lines(board)]
    return [Padding(Text(f"! {line}", style="bold red"), (0, 0, 0, 2)) for line in lines]


def _notes(board: Board) -> list[RenderableType]:
    notes = [shorten(board.older.line, 1000)] if board.older else []
    # The row's own note says the same of an excluded run.
    notes += [shorten(n, 400) for n in board.notes if not n.startswith("Excluded")]
    for row in board.main_rows:
        # The table already has the number of seeds, the lines above older versions and duplicates.
        known = ("n = ", "single seed", "older version")
        why = [n for n in row.notes if not n.startswith(known) and SEVERAL not in n]
        notes += [f"{shorten(row.name, 60)}: {shorten(note, 240)}" for note in why]
    return [Padding(Text(f"· {note}", style="yellow"), (0, 0, 0, 2)) for note in notes]


def _headline(board: Board) -> list[RenderableType]:
    """Return the title of a board and its answer."""
    title = Text(shorten(board.title, 160), style="bold")
    return [title, Padding(Text(shorten(headline(board).text, 1000)), (0, 0, 0, 2))]


def _across(one: Across) -> list[RenderableType]:
    title = f"All boards of protocol {shorten(one.protocol_id, 60)}"
    lines = [*summary(one), *group_lines(one), *one.notes]
    ranks = ", ".join(f"{shorten(r.name, 60)} {r.rank:.2f}" for r in one.ranks)
    if ranks:
        lines.insert(1, f"{ranks}.")
    lines += [f"Left out: {x.kind} {shorten(x.name, 60)}: {x.reason}." for x in one.left_out]
    texts = (Padding(Text(f"· {line}"), (0, 0, 0, 2)) for line in lines)
    return [Text(title, style="bold"), *texts]
