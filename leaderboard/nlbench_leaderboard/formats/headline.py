"""A board's answer in sentences: which method is best, by how much, and whether that is luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nlbench_leaderboard.formats.numbers import percent, points
from nlbench_leaderboard.ranking.board import Board, Row
from nlbench_leaderboard.ranking.paired import ALPHA, LEAST_N
from nlbench_leaderboard.ranking.versus import Difference

_MOST_NAMES = 3


@dataclass(frozen=True)
class Headline:
    """The sentences of a board, "" where there is nothing to say.

    Attributes:
        best: Which method is best, and its accuracy.
        lead: Its lead over the next method.
        luck: Whether that is luck, in at most five words.
        evidence: What this rests on, in parentheses.
        others: Which other methods cannot be told apart from it.
        gap: How much of the way from `none` to the oracle it goes, or that it is not above `none`.
        saturated: That the board hardly separates methods, and by which rule.
    """

    best: str
    lead: str = ""
    luck: str = ""
    evidence: str = ""
    others: str = ""
    gap: str = ""
    saturated: str = ""

    @property
    def answer(self) -> str:
        """The best method, its lead, and what cannot be told apart from it."""
        lead = f"{self.lead}: {self.luck} {self.evidence}." if self.luck else self.lead
        return " ".join(filter(None, (self.best, lead, self.others)))

    @property
    def text(self) -> str:
        """All sentences."""
        return " ".join(filter(None, (self.answer, self.gap, self.saturated)))


def headline(board: Board) -> Headline:
    """Return the answer of a board."""
    best = board.best
    if best is None or best.accuracy is None:
        older = "Not ranked: all finished runs are from older versions." if board.older else ""
        return Headline(older or "No method has a finished run.")
    mean = f"{percent(best.accuracy.mean, 1)} %"
    if not best.is_complete:
        return Headline(
            f"Highest mean so far: {best.name}, {mean}, with {best.n} of {best.n_expected} seeds.",
            "No method has every seed, so none is called the best.",
        )
    methods = [row for row in board.rows if row.rank is not None and row.is_complete]
    if len(methods) == 1:
        return Headline(f"Only one method has every seed: {best.name}, {mean}.", gap=_gap(board))
    best_text = _best(methods, mean, _is_overtaken(board))
    return Headline(
        best_text, *_lead(methods), _others(methods), _gap(board), saturated_line(board)
    )


def rule_line(board: Board) -> str:
    """Return by which test rows are compared with the best and with `none`."""
    m, m_none = _n_tests(board, to_none=False), _n_tests(board, to_none=True)
    if not m:
        return ""
    none = (
        f" What is said of none is corrected over the {_count(m_none, 'comparison')} with none."
        if m_none
        else ""
    )
    return (
        "To the best: mean paired difference in points. Its interval leaves out 0 exactly where "
        f"the paired t-test at {percent(ALPHA, 0)} %, Holm-corrected over the "
        f"{_count(m, 'comparison')} with the best only, finds a difference.{none}"
    )


def saturated_line(board: Board) -> str:
    """Return that a board hardly separates methods, with the rule; "" where it does."""
    one = board.saturation
    if one is None:
        return ""
    room = "" if one.room is None else f"{points(one.room, 1)} points"
    if one.rule == "nothing to close":
        n = f", n={board.room.n}" if board.room else ""
        return (
            f"Saturated: knowing the clean labels does not help here (oracle − none: {room}{n}), "
            "so no method can gain anything."
        )
    if one.rule == "small room":
        return (
            f"Nearly saturated: the whole way from none to the oracle is {room}, and two methods "
            f"must differ by about {percent(one.detectable, 1)} points to be told apart here."
        )
    return (
        f"Saturated: {one.n_near} of {one.n_methods} methods are inside the 95 % interval of the "
        "best one's mean."
    )


def lead_text(difference: Difference) -> str:
    """Return by how much the best is above a row: ``0.8 points (0.3 to 1.3)``."""
    if difference.low is None or difference.high is None:
        return _points(-difference.mean)
    low, high = -difference.high, -difference.low
    return f"{_points(-difference.mean)} ({_unsigned(low)} to {_unsigned(high)})"


def p_text(p: float) -> str:
    """Return a p-value as it is printed in a sentence.

    >>> p_text(0.4673), p_text(0.0312), p_text(0.00004)
    ('p = 0.47', 'p = 0.031', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.{3 if p < 0.1 else 2}f}"


def names_text(names: Sequence[str], of: int) -> str:
    """Return the first names and how many more there are.

    >>> names_text(["a", "b"], 5), names_text(list("abcde"), 9)
    ('a and b', 'a, b, c and 2 more (5 of the 9 others)')
    """
    if len(names) > _MOST_NAMES + 1:
        shown = ", ".join(names[:_MOST_NAMES])
        return f"{shown} and {len(names) - _MOST_NAMES} more ({len(names)} of the {of} others)"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _best(methods: Sequence[Row], mean: str, is_overtaken: bool) -> str:
    names = [row.name for row in methods if row.rank == methods[0].rank]
    among = f" of those with all {methods[0].n} seeds" if is_overtaken else ""
    if len(names) == 1:
        return f"Best{among}: {names[0]}, {mean}."
    return f"Best{among}, with the same mean: {names_text(names, len(methods))}, {mean}."


def _is_overtaken(board: Board) -> bool:
    """Whether a method that lacks seeds has a higher mean so far."""
    best = board.best
    ranks = [row.rank for row in board.rows if row.rank is not None]
    return best is not None and best.rank is not None and min(ranks) < best.rank


def _lead(methods: Sequence[Row]) -> tuple[str, str, str]:
    """Return the lead over the first row with a lower mean, whether it is luck, and why."""
    following = next((row for row in methods if row.rank != methods[0].rank), None)
    if following is None or following.to_best is None:
        return "", "", ""
    d, n = following.to_best, following.to_best.n
    is_one = sum(row.rank == methods[0].rank for row in methods) == 1
    by = lead_text(d) if n >= LEAST_N or following.verdict == "worse" else _points(-d.mean)
    lead = f"{'It is' if is_one else 'They are'} {by} above the next, {following.name}"
    if following.verdict == "worse" and d.p is not None:
        return lead, "not luck", f"({p_text(d.p)}, n={n})"
    if following.verdict == "not separable" and d.p is not None:
        return lead, "may be luck", f"({p_text(d.p)}, n={n})"
    if n < LEAST_N:
        return lead, "too few seeds to tell", f"(n={n}; run at least {LEAST_N})"
    return lead, "not tested", f"(the same on every seed, n={n})"


def _others(methods: Sequence[Row]) -> str:
    best = methods[0]
    rest = [row for row in methods if row.rank != best.rank][1:]
    of = len(methods) - 1
    if best.n < LEAST_N:
        worse = [row.name for row in rest if row.verdict == "worse"]
        return f"Significantly worse even so: {names_text(worse, of)}." if worse else ""
    close = [row.name for row in rest if row.verdict == "not separable"]
    untested = [row.name for row in rest if row.verdict == "not tested"]
    said = []
    if close:
        said.append(f"Not separable from the best either: {names_text(close, of)}.")
    if untested:
        said.append(f"Not tested, the same difference on every seed: {names_text(untested, of)}.")
    return " ".join(said)


def _gap(board: Board) -> str:
    best, none = board.best, board.bound("lower")
    if best is None or none is None:
        return ""
    if best.none_verdict in ("no better", "worse"):
        return f"Even the best is {best.none_verdict} than {none.label} ({_accuracy(none)})."
    if best.none_verdict == "not separable":
        return f"Even the best is not separable from {none.label} ({_accuracy(none)}, n={best.n})."
    oracle = board.bound("upper")
    if best.gap is None or oracle is None:
        return ""
    closed = f"{100 * best.gap.closed:.0f} %".replace("-", "−")
    return (
        f"It closes {closed} of the gap from {none.label} ({_accuracy(none)}) to {oracle.label} "
        f"({_accuracy(oracle)})."
    )


def _accuracy(row: Row) -> str:
    return f"{percent(row.accuracy.mean if row.accuracy else None, 1)} %"


def _n_tests(board: Board, *, to_none: bool) -> int:
    found = [row.to_none if to_none else row.to_best for row in board.rows if row.rank is not None]
    return sum(d is not None and d.p is not None for d in found)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _points(share: float) -> str:
    return f"{_unsigned(share)} points"


def _unsigned(share: float) -> str:
    """Return points with one decimal, with two where one would round them to 0."""
    digits = 2 if 0 < abs(share) < 0.0005 else 1
    return f"{100 * share:.{digits}f}".replace("-", "−")
