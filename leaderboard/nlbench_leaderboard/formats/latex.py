r"""Boards as LaTeX tables for a paper: one `table` per board, needs `\usepackage{booktabs}`."""

from __future__ import annotations

from collections.abc import Sequence

from nlbench_leaderboard.escape import latex, shorten
from nlbench_leaderboard.formats.numbers import BOUNDS, interval_text, points
from nlbench_leaderboard.ranking.board import AGAINST_NOISY_LABELS, Board, Row
from nlbench_leaderboard.ranking.paired import ALPHA, LEAST_N

_HEAD = r"""% Made by `nlbench leaderboard`. In the preamble: \usepackage{booktabs}
% With inputenc/T1 or any newer engine; characters beyond Latin-1 are written as U+XXXX."""
_COLUMNS = {
    "selection_f1": "F1",
    "selection_auroc": "AUROC",
    "precision_at_50": r"P@50\,\%",
    "kept_fraction": "Kept",
}
_NOT_ABOVE_NONE = ("no better", "not separable", "worse")


def to_latex(boards: Sequence[Board]) -> str:
    """Return all boards, in percent: the best bold, what is not separable from it underlined."""
    return "\n\n".join([_HEAD, *map(_table, boards)]) + "\n"


def _table(board: Board) -> str:
    titles = ["Method", r"Test accuracy", "$n$", "To the best", *_COLUMNS.values()]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(board)}}}",
        rf"\label{{tab:{board.id}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}",
        r"\toprule",
        _line(titles),
        r"\midrule",
        *_body(board),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _body(board: Board) -> list[str]:
    ranked = [_row(row) for row in board.main_rows if row.rank is not None]
    others = [_row(row) for row in board.main_rows if row.rank is None]
    rule = [r"\midrule"] if ranked and others else []
    return [*ranked, *rule, *others]


def _row(row: Row) -> str:
    kind = BOUNDS[row.bound] or ("older version" if row.older else "")
    name = latex(shorten(row.name, 60)) + (rf" \emph{{({kind})}}" if kind else "")
    n = str(row.n) if row.is_complete else f"{row.n} of {row.n_expected}"
    others = (_percent(row.stats[k].mean) if k in row.stats else "--" for k in _COLUMNS)
    return _line([name, _accuracy(row), n, _to_best(row), *others])


def _to_best(row: Row) -> str:
    """Return the difference to the best, and a dagger for what is not shown to be above none."""
    if row.to_best is None:
        return "--"
    interval = interval_text(row.to_best)
    text = f"{points(row.to_best.mean)}{f' ({interval})' if interval else ''}"
    dagger = r" $\dagger$" if row.none_verdict in _NOT_ABOVE_NONE else ""
    return text.replace("−", "$-$") + dagger


def _accuracy(row: Row) -> str:
    if row.accuracy is None:
        return rf"\emph{{{row.status}}}"
    mean = _percent(row.accuracy.mean)
    if row.verdict == "best":
        mean = rf"\textbf{{{mean}}}"
    elif row.verdict == "not separable":
        mean = rf"\underline{{{mean}}}"
    half = row.accuracy.half_width
    return mean if half is None else rf"{mean} $\pm$ {_percent(half)}"


def _caption(board: Board) -> str:
    n = len(board.seeds)
    against = f" {AGAINST_NOISY_LABELS}" if board.against_noisy_labels else ""
    older = f" {latex(shorten(board.older.line, 600))}" if board.older else ""
    return (
        f"Test accuracy (\\%){against} after the last epoch on "
        f"{latex(shorten(board.words.data, 60))}, {latex(shorten(board.words.noise, 60))}: "
        f"mean $\\pm$ half the 95\\,\\% $t$-interval over $n$ of {n} "
        f"seed{'' if n == 1 else 's'}. {_marks(board)} F1, AUROC and precision at 50\\,\\% kept "
        f"(P@50\\,\\%) of the selection, and the share kept, in \\%. "
        f"Protocol {latex(shorten(board.protocol.id, 60))} "
        f"(SHA-256 \\texttt{{{latex(board.protocol.sha256[:12])}}}).{older}"
    )


def _marks(board: Board) -> str:
    best = next((row for row in board.rows if row.verdict == "best"), None)
    if best is None:
        return "No row is marked: fewer than two rows have every seed."
    difference = (
        "To the best: mean paired difference in points, with an interval that leaves out 0 where "
        "the paired $t$-test, Holm-corrected over the comparisons with the best, has "
        f"$p < {ALPHA}$."
    )
    none = (
        r" $\dagger$: not shown to be better than none (the same test over the comparisons with "
        "none)."
    )
    dagger = none if any(row.none_verdict in _NOT_ABOVE_NONE for row in board.rows) else ""
    if best.n < LEAST_N:
        return (
            f"Bold: the best; what is not separable from it is not marked, that needs {LEAST_N} "
            f"seeds. {difference}{dagger}"
        )
    return f"Bold: the best; underlined: not separable from it. {difference}{dagger}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
