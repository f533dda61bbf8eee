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
from nlbench_leaderboard.formats.warnings import disagreement_lines
from nlbench_leaderboard.ranking.across import Across
from nlbench_leaderboard.ranking.board import AGAINST_NOISY_LABELS, Board, Row
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
    """Return a table per board, its pairs, and the comparison over all boards."""
    lines = ["# nlbench leaderboard", ""]
    if not boards:
        lines += [f"No runs yet. Next: `{NEXT_COMMAND}`."]
    else:
        lines += [
            "Test accuracy after the last epoch in percent; ± is half the 95 % t-interval over "
            "seeds. Bounds are not ranked; a rank in parentheses rests on fewer seeds.",
        ]
    if problems:
        lines += ["", *(f"- Left out: {markdown(shorten(p, 400))}" for p in problems)]
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
    head = ["Rank", "Selector", f"Accuracy{against}, %", "vs best", *_COLUMNS.values()]
    lines = [f"## {markdown(board.title)}", "", *_said(board)]
    lines += [_line([*head, "Knows", "Notes"])]
    lines += [_line(["---:", "---", "---:", "---", *["---:"] * 6, "---", "---"])]
    lines += [_line(_cells(row)) for row in board.main_rows]
    if board.verdict:
        lines += ["", f"- {markdown(shorten(board.verdict, 1000))}"]
    return lines + _pairs(board) + _reported(reported_for(board))


def _said(board: Board) -> list[str]:
    """Return what must be read before the table: warnings, older versions, notes."""
    warnings = [f"- **Warning:** {markdown(shorten(line, 600))}"
                for line in disagreement_lines(board)]  # fmt: skip
    older = [f"- {markdown(shorten(board.older.line, 1000))}"] if board.older else []
    lines = [*warnings, *older, *(f"- {markdown(shorten(note, 400))}" for note in board.notes)]
    return [*lines, ""] if lines else []


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


def _across(one: Across) -> list[str]:
    lines = [f"## All boards of protocol {markdown(shorten(one.protocol_id, 60))}", ""]
    lines += [f"- {markdown(shorten(note, 400))}" for note in (*summary(one), *one.notes)]
    lines += [
        f"- Left out: {left.kind} {markdown(shorten(left.name, 120))}: {markdown(left.reason)}"
        for left in one.left_out
    ]
    if one.ranks:
        lines += ["", _line(["Selector", "Average rank"]), _line(["---", "---:"])]
        lines += [_line([markdown(shorten(r.name, 120)), f"{r.rank:.2f}"]) for r in one.ranks]
    return lines


def summary(one: Across) -> list[str]:
    """Return the comparison over the boards of one protocol in sentences."""
    if not one.ranks or one.critical_difference is None:
        return []
    lines = [f"Average ranks of {len(one.ranks)} selectors over {len(one.boards)} boards."]
    if one.friedman is not None:
        lines.append(
            f"Friedman chi-square {one.friedman:.2f}, {len(one.ranks) - 1} degrees of freedom, "
            f"p {p_value(one.friedman_p)}."
        )
    lines.append(f"Nemenyi critical difference at 0.05: {one.critical_difference:.2f}.")
    lines += [f"Not significantly different: {', '.join(group)}." for group in one.groups]
    return lines


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
