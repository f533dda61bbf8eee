"""How numbers and verdicts are printed, the same in every format."""

from __future__ import annotations

from nlbench_leaderboard.ranking.board import Row, Verdict

TIED = "≈"
NEXT_COMMAND = "nlbench sweep"
BOUNDS = {"upper": "upper bound", "lower": "reference", "": ""}
VERDICTS: dict[Verdict, str] = {
    "": "",
    "best": "best",
    "tied": "tied",
    "worse": "worse",
    "untested": "not tested",
}


def percent(share: float | None, digits: int = 2) -> str:
    """Return a share as percent without the sign, a dash for None.

    >>> percent(0.93412)
    '93.41'
    """
    return "–" if share is None else f"{100 * share:.{digits}f}"


def points(difference: float | None) -> str:
    """Return a difference of shares in percentage points, with its sign.

    >>> points(0.0123), points(-0.0123)
    ('+1.23', '−1.23')
    """
    if difference is None:
        return "–"
    return f"{100 * difference:+.2f}".replace("-", "−")


def p_value(p: float | None) -> str:
    """Return a p-value with three decimals, a dash where no test was made.

    >>> p_value(0.0312), p_value(0.00004), p_value(None)
    ('0.031', '<0.001', '–')
    """
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def accuracy_text(row: Row) -> str:
    """Return ``93.41 ± 0.35 (n=3)``, or the status of a row without a finished run."""
    if row.accuracy is None:
        return row.status
    n = f"n={row.n}" if row.is_complete else f"n={row.n} of {row.n_expected}"
    half = row.accuracy.half_width
    spread = "" if half is None else f" ± {percent(half)}"
    return f"{percent(row.accuracy.mean)}{spread} ({n})"


def mean_percent(row: Row, key: str) -> str:
    """Return the mean of one share of a row in percent, a dash where nothing was measured."""
    return percent(row.stats[key].mean) if key in row.stats else "–"
