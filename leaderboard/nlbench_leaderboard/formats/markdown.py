"""Boards as Markdown tables, in percent, as they can be pasted into an issue or a README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nlbench_leaderboard.escape import clean, markdown, shorten
from nlbench_leaderboard.formats.numbers import (
    BOUNDS,
    NEXT_COMMAND,
    VERDICTS,
    accuracy_text,
    mean_percent,
    p_value,
    percent,
    points,
)
from nlbench_leaderboard.ranking.across import Across
from nlbench_leaderboard.ranking.board import Board, Row
from nlbench_leaderboard.ranking.paired import Comparison, least_n_wilcoxon
from nlbench_leaderboard.sources.reported import HEADING, Reported, reported_for

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
    """Return a table per board, its pairs, and the comparison across boards."""
    lines = ["# nlbench leaderboard", ""]
    if not boards:
        lines += [f"No runs yet. Next: `{NEXT_COMMAND}`."]
    else:
        lines += [
            "Test accuracy after the last epoch in percent; ± is half the 95 % t-interval over "
            "seeds. Bounds are not ranked; a rank in parentheses lacks seeds.",
        ]
    if problems:
        lines += ["", *(f"- Left out: {markdown(shorten(p, 400))}" for p in problems)]
    for found in across:
        lines += ["", *_across(found)]
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
    """Say what the table of pairs holds and what its tests can find."""
    n, shown = len(board.comparisons), len(pairs_shown(board))
    part = "" if shown == n else f"; {shown} are shown here, the others are in comparisons.csv"
    tested = sum(c.t_p is not None for c in board.comparisons)
    return (
        f"Paired differences of test accuracy in percent points over seeds with the same noisy "
        f"labels, {n} pair{'' if n == 1 else 's'}{part}. ± is half the 95 % t-interval, not "
        f"corrected; p is Holm-corrected. Wilcoxon's test needs 6 seeds that differ, and "
        f"{least_n_wilcoxon(tested)} to pass 0.05 after the correction."
    )


def _board(board: Board) -> list[str]:
    head = ["Rank", "Selector", "Accuracy, %", "vs best", *_COLUMNS.values(), "Knows", "Notes"]
    lines = [f"## {markdown(board.title)}", ""]
    if board.notes:
        lines += [*(f"- {markdown(shorten(note, 400))}" for note in board.notes), ""]
    lines += [_line(head), _line(["---:", "---", "---:", "---", *["---:"] * 6, "---", "---"])]
    lines += [_line(_cells(row)) for row in board.rows]
    if board.verdict:
        lines += ["", f"- {markdown(shorten(board.verdict, 1000))}"]
    return lines + _pairs(board) + _reported(reported_for(board))


def _cells(row: Row) -> list[str]:
    bound = f" ({BOUNDS[row.bound]})" if row.bound else ""
    return [
        row.rank_text,
        markdown(shorten(row.name, 120)) + bound,
        accuracy_text(row),
        VERDICTS[row.verdict],
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


def _across(found: Across) -> list[str]:
    lines = [f"## All boards of protocol {markdown(shorten(found.protocol_id, 60))}", ""]
    lines += [f"- {markdown(shorten(note, 400))}" for note in (*summary(found), *found.notes)]
    lines += [
        f"- Left out: {left.kind} {markdown(shorten(left.name, 120))}: {markdown(left.reason)}"
        for left in found.left_out
    ]
    if found.ranks:
        lines += ["", _line(["Selector", "Average rank"]), _line(["---", "---:"])]
        lines += [_line([markdown(shorten(r.name, 120)), f"{r.rank:.2f}"]) for r in found.ranks]
    return lines


def summary(found: Across) -> list[str]:
    """Return in sentences what the boards of one protocol say together."""
    if not found.ranks or found.critical_difference is None:
        return []
    lines = [f"Average ranks of {len(found.ranks)} selectors over {len(found.boards)} boards."]
    if found.friedman is not None:
        lines.append(
            f"Friedman chi-square {found.friedman:.2f}, {len(found.ranks) - 1} degrees of freedom, "
            f"p {p_value(found.friedman_p)}."
        )
    lines.append(f"Nemenyi critical difference at 0.05: {found.critical_difference:.2f}.")
    lines += [f"Not separable: {', '.join(group)}." for group in found.groups]
    return lines


def _reported(rows: Sequence[Reported]) -> list[str]:
    if not rows:
        return []
    head = ["Method", "Best epoch on test, %", "Last epoch, %", "Network", "Source", "Protocol"]
    lines = ["", f"### {HEADING}", "", _line(head), _line(["---", "---:", "---:", *["---"] * 3])]
    for row in rows:
        numbers = (row.result.accuracy_best, row.result.accuracy_last)
        texts = (row.result.network, row.source.text, row.protocol)
        cells = [markdown(shorten(row.result.method, 120)), *map(percent, numbers)]
        lines.append(_line([*cells, *(markdown(shorten(text, 400)) for text in texts)]))
    return lines


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(clean(cell) for cell in cells) + " |"
