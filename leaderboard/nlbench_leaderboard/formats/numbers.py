"""How numbers and verdicts are printed, the same in every format."""

from __future__ import annotations

from nlbench_leaderboard.ranking.board import Bound, Row
from nlbench_leaderboard.ranking.versus import Difference

NOT_SEPARABLE = "≈"
NEXT_COMMAND = "nlbench sweep"
BOUNDS: dict[Bound, str] = {"upper": "upper bound", "lower": "reference", "": ""}


def percent(share: float | None, digits: int = 2) -> str:
    """Return a share as percent without the sign, a dash for None.

    >>> percent(0.93412)
    '93.41'
    """
    return "–" if share is None else f"{100 * share:.{digits}f}"


def points(difference: float | None, digits: int = 2) -> str:
    """Return a difference of shares in percentage points, with its sign.

    >>> points(0.0123), points(-0.0123), points(0.0)
    ('+1.23', '−1.23', '0.00')
    """
    if difference is None:
        return "–"
    sign = "+" if difference else ""
    return f"{100 * difference:{sign}.{digits}f}".replace("-", "−")


def interval_text(difference: Difference | None) -> str:
    """Return the interval of a difference in points, "" where it has none.

    >>> interval_text(Difference(5, -0.01, -0.0152, -0.0048, 0.02))
    '−1.52 to −0.48'
    """
    if difference is None or difference.low is None or difference.high is None:
        return ""
    low, high = (f"{100 * end:.2f}".replace("-", "−") for end in (difference.low, difference.high))
    return f"{low} to {high}"


def difference_text(difference: Difference | None) -> str:
    """Return a difference in points with its interval, a dash where there is none.

    >>> difference_text(Difference(5, -0.01, -0.0152, -0.0048, 0.02))
    '−1.00 (−1.52 to −0.48)'
    """
    if difference is None:
        return "–"
    interval = interval_text(difference)
    return f"{points(difference.mean)}{f' ({interval})' if interval else ''}"


def versus_best_text(row: Row) -> str:
    """Return how a row compares with the best, with n where nothing was found; "" for most."""
    if row.verdict in ("not separable", "not tested"):
        return f"{row.verdict} (n={row.n})"
    return row.verdict


def versus_none_text(row: Row) -> str:
    """Return that a row is not shown to be better than `none`; "" where it is, or not tested."""
    if row.none_verdict in ("no better", "worse"):
        return f"{row.none_verdict} than none"
    return f"not separable from none (n={row.n})" if row.none_verdict == "not separable" else ""


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
