"""Boards as Markdown tables, in percent, as they can be pasted into an issue or a README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nlbench_leaderboard.escape import clean, markdown, shorten
from nlbench_leaderboard.formats.cells import Cell, cell_of, heading_of, overall_text
from nlbench_leaderboard.formats.headline import headline, rule_line
from nlbench_leaderboard.formats.numbers import (
    BOUNDS,
    NEXT_COMMAND,
    accuracy_text,
    difference_text,
    mean_percent,
    p_value,
    percent,
    points,
    versus_best_text,
    versus_none_text,
)
from nlbench_leaderboard.formats.warnings import disagreement_lines
from nlbench_leaderboard.ranking.across import Across
from nlbench_leaderboard.ranking.board import AGAINST_NOISY_LABELS, Board, Row
from nlbench_leaderboard.ranking.matrix import Line, Matrix, matrices_of
from nlbench_leaderboard.ranking.paired import Comparison, least_n_wilcoxon
from nlbench_leaderboard.sources.reported import HEADING, Reported, reported_for

LEGEND_TEXT = (
    "Gap closed in percent, (accuracy − none) / (oracle − none), and in parentheses the test "
    "accuracy after the last epoch in percent. Bold: the best of the column; ≈: not separable from "
    "it; italic: cannot be told apart from none, or not tested."
)
MOST_PAIRS = 60
"""Longer lists of pairs are not printed for reading; the CSV, Parquet and JSON files have all."""

_COLUMNS = {
    "selection_precision": "Precision",
    "selection_recall": "Recall",
    "selection_f1": "F1",
    "selection_auroc": "AUROC",
    "kept_fraction": "Kept",
    "noise_rate_after": "Noise after",
}


def to_markdown(
    boards: Sequence[Board], problems: Sequence[str] = (), across: Sequence[Across] = ()
) -> str:
    """Return the answers, methods by boards, the comparison over boards, and a table per board."""
    lines = ["# nlbench leaderboard", ""]
    if not boards:
        lines += [f"No runs yet. Next: `{NEXT_COMMAND}`."]
    else:
        lines += [
            "Test accuracy after the last epoch in percent; ± is half the 95 % t-interval over "
            "seeds. Bounds are not ranked; a rank in parentheses rests on fewer seeds.",
        ]
        lines += ["", *(f"- {_answer(board)}" for board in boards)]
    if problems:
        lines += ["", *(f"- Left out: {markdown(shorten(p, 400))}" for p in problems)]
    for matrix in matrices_of(boards, across):
        lines += ["", *_matrix(matrix)]
    for one in across:
        lines += ["", *_across(one)]
    for board in boards:
        lines += ["", *_board(board)]
    return "\n".join(lines).rstrip() + "\n"


def pairs_shown(board: Board) -> Sequence[Comparison]:
    """Return the pairs to print: all, or where these are too many those with the best row."""
    if len(board.comparisons) <= MOST_PAIRS or board.best is None:
        return board.comparisons
    best = board.best.name
    return [c for c in board.comparisons if best in (c.first, c.second)][:MOST_PAIRS]


def pairs_caption(board: Board) -> str:
    """Return what the table of pairs contains and what its tests can detect."""
    n, shown = len(board.comparisons), len(pairs_shown(board))
    part = "" if shown == n else f"; {shown} are shown here, all are in comparisons.csv"
    tested = sum(c.t_p is not None for c in board.comparisons)
    return (
        f"Paired differences of test accuracy in percentage points over seeds with the same noisy "
        f"labels, {n} pair{'' if n == 1 else 's'}{part}. ± is half the 95 % t-interval, not "
        f"corrected; p is Holm-corrected. Wilcoxon's test needs 6 seeds that differ, and "
        f"{least_n_wilcoxon(tested)} for p < 0.05 after the correction."
    )


def _board(board: Board) -> list[str]:
    against = f" {AGAINST_NOISY_LABELS}" if board.against_noisy_labels else ""
    head = ["Rank", "Method", f"Accuracy{against}, %", "Difference to the best", "Found"]
    lines = [f"## {markdown(board.title)}", "", *_said(board)]
    lines += [_line([*head, *_COLUMNS.values(), "Knows", "Notes"])]
    lines += [_line(["---:", "---", "---:", "---:", "---", *["---:"] * 6, "---", "---"])]
    lines += [_line(_cells(row)) for row in board.main_rows]
    rule = rule_line(board)
    if rule:
        lines += ["", f"- {markdown(rule)}"]
    return lines + _pairs(board) + _reported(reported_for(board))


def _said(board: Board) -> list[str]:
    """Return what must be read before the table: warnings, older versions, notes."""
    warnings = [f"- **Warning:** {markdown(shorten(line, 600))}"
                for line in disagreement_lines(board)]  # fmt: skip
    older = [f"- {markdown(shorten(board.older.line, 1000))}"] if board.older else []
    notes = (f"- {markdown(shorten(note, 400))}" for note in board.notes)
    return [f"- {markdown(shorten(headline(board).text, 1000))}", *warnings, *older, *notes, ""]


def _answer(board: Board) -> str:
    return (
        f"{markdown(shorten(board.title, 160))}: {markdown(shorten(headline(board).answer, 600))}"
    )


def _matrix(matrix: Matrix) -> list[str]:
    boards = [f"{markdown(shorten(b.words.data, 60))} {markdown(matrix.settings[b.id])} "
              f"({heading_of(b)})" for b in matrix.boards]  # fmt: skip
    overall = [f"{len(matrix.counted)} boards"] if matrix.counted else []
    return [
        f"## Methods by boards: {markdown(shorten(matrix.boards[0].words.protocol, 60))}",
        "",
        f"- {markdown(LEGEND_TEXT)}",
        "",
        _line(["Method", *overall, *boards, "Also uses"]),
        _line(["---", *["---:"] * (len(overall) + len(boards)), "---"]),
        *(_line(_matrix_cells(line, matrix)) for line in matrix.lines),
        *_bound_lines(matrix),
    ]


def _matrix_cells(line: Line, matrix: Matrix) -> list[str]:
    closed, part = overall_text(line.overall, matrix)
    overall = [f"{closed} ({part})" if part else closed] if matrix.counted else []
    cells = (cell_of(row, board) for row, board in zip(line.cells, matrix.boards, strict=True))
    uses = markdown(shorten(", ".join(line.knowledge), 200))
    return [markdown(shorten(line.name, 120)), *overall, *map(_matrix_cell, cells), uses]


def _matrix_cell(cell: Cell) -> str:
    text = f"**{cell.text or cell.second}**" if cell.mark == "best" else cell.text or cell.second
    if cell.kind in ("muted", "open") and cell.mark != "best":
        text = f"*{text}*"
    second = f" ({cell.second})" if cell.text and cell.second else ""
    return f"{text}{second}{' ≈' if cell.mark == 'close' else ''}"


def _bound_lines(matrix: Matrix) -> list[str]:
    """Return the accuracies of the oracle and of none, between which the gap is."""
    lines = []
    for bound, name in BOUNDS.items():
        rows = [board.bound(bound) for board in matrix.boards] if bound else []
        if any(rows):
            cells = (percent(r.accuracy.mean if r and r.accuracy else None, 1) for r in rows)
            lines.append(
                _line([f"{name}, accuracy", *([""] if matrix.counted else []), *cells, ""])
            )
    return lines


def _cells(row: Row) -> list[str]:
    bound = f" ({BOUNDS[row.bound]})" if row.bound else ""
    return [
        row.rank_text,
        markdown(shorten(row.name, 120)) + bound,
        accuracy_text(row),
        difference_text(row.to_best),
        "; ".join(filter(None, (versus_best_text(row), versus_none_text(row)))),
        *(mean_percent(row, key) for key in _COLUMNS),
        markdown(", ".join(row.knowledge)),
        markdown("; ".join(shorten(note, 200) for note in row.notes)),
    ]


def _pairs(board: Board) -> list[str]:
    if not board.comparisons:
        return []
    head = ["First", "Second", "n", "First − second", "t-test p", "Wilcoxon p"]
    lines = ["", "### Paired comparisons", "", f"- {pairs_caption(board)}", ""]
    lines += [_line(head), _line(["---", "---", *["---:"] * 4])]
    for c in pairs_shown(board):
        spread = "" if c.half_width is None else f" ± {percent(c.half_width)}"
        names = (markdown(shorten(name, 120)) for name in (c.first, c.second))
        numbers = (f"{points(c.difference)}{spread}", p_value(c.t_p_holm))
        lines.append(_line([*names, str(c.n), *numbers, p_value(c.wilcoxon_p_holm)]))
    return lines


def _across(one: Across) -> list[str]:
    lines = [f"## All boards of protocol {markdown(shorten(one.protocol_id, 60))}", ""]
    lines += [f"- {markdown(shorten(note, 400))}" for note in (*summary(one), *one.notes)]
    lines += [f"- {markdown(shorten(line, 1000))}" for line in group_lines(one)]
    lines += [
        f"- Left out: {left.kind} {markdown(shorten(left.name, 120))}: {markdown(left.reason)}"
        for left in one.left_out
    ]
    if one.ranks:
        lines += ["", _line(["Method", "Average rank"]), _line(["---", "---:"])]
        lines += [_line([markdown(shorten(r.name, 120)), f"{r.rank:.2f}"]) for r in one.ranks]
    return lines


def summary(one: Across) -> list[str]:
    """Return the comparison over the boards of one protocol in sentences."""
    if not one.ranks or one.critical_difference is None:
        return []
    lines = [f"Average ranks of {len(one.ranks)} methods over {len(one.boards)} boards."]
    if one.friedman is not None:
        lines.append(
            f"Friedman chi-square {one.friedman:.2f}, {len(one.ranks) - 1} degrees of freedom, "
            f"p {p_value(one.friedman_p)}."
        )
    lines.append(f"Nemenyi critical difference at 0.05: {one.critical_difference:.2f}.")
    return lines


def group_lines(one: Across) -> list[str]:
    """Return the groups of methods whose average ranks cannot be told apart, in sentences."""
    return [f"Not significantly different: {', '.join(group)}." for group in one.groups]


def _reported(rows: Sequence[Reported]) -> list[str]:
    if not rows:
        return []
    head = [
        "Method",
        "Best epoch (chosen on the test set), %",
        "Last epoch, %",
        "Network",
        "Source",
        "Protocol",
    ]
    lines = ["", f"### {HEADING}", "", _line(head), _line(["---", "---:", "---:", *["---"] * 3])]
    for row in rows:
        numbers = (row.result.accuracy_best, row.result.accuracy_last)
        texts = (row.result.network, row.source.text, row.protocol)
        cells = [markdown(shorten(row.result.method, 120)), *map(percent, numbers)]
        lines.append(_line([*cells, *(markdown(shorten(text, 400)) for text in texts)]))
    return lines


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(clean(cell) for cell in cells) + " |"
