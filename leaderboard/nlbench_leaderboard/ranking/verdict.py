"""Which rows are tied with the best of a board, and the sentence that says so.

The rule: the best row is the ranked one with every seed and the highest mean. Another row with
every seed is *worse* where the paired t-test against the best, Holm-corrected over all pairs of the
board, has p < 0.05, and *tied* where it has not and there are at least five seeds. With fewer seeds
the corrected test misses large differences, so that "not significant" says nothing: untested.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nlbench_leaderboard.ranking.board import Row, Verdict
from nlbench_leaderboard.ranking.paired import ALPHA, Comparison, compare_all
from nlbench_leaderboard.ranking.stats import is_usable

LEAST_N_TIE = 5


def compare_rows(rows: Sequence[Row]) -> tuple[Comparison, ...]:
    """Compare all pairs of ranked rows, and these with `none`, by accuracy after the last epoch."""
    mine = [r for r in rows if r.accuracy and (r.rank is not None or r.bound == "lower")]
    return compare_all([(row.name, _cells(row)) for row in mine])


def judge(
    rows: Sequence[Row], best: Row | None, comparisons: Sequence[Comparison]
) -> tuple[tuple[Row, ...], str]:
    """Say of each complete row how it stands to the best.

    Returns:
        The rows with their verdict, and the sentence for the board.
    """
    rivals = [row for row in rows if row.rank is not None and row is not best]
    if best is None or not rivals:
        return tuple(rows), ""
    if not best.is_complete:
        return tuple(rows), "No selector has every seed: nothing is said of ties with the best."
    against = {c.second if c.first == best.name else c.first: c for c in comparisons
               if best.name in (c.first, c.second)}  # fmt: skip
    verdicts = {id(r): _verdict(against.get(r.name)) for r in rivals if r.is_complete}
    verdicts[id(best)] = "best"
    judged = tuple(dataclasses.replace(r, verdict=verdicts.get(id(r), "")) for r in rows)
    n_pairs = sum(c.t_p is not None for c in comparisons)
    return judged, _sentence(judged, best, n_pairs)


def _cells(row: Row) -> dict[tuple[str, int], float]:
    values = {}
    for run in row.runs:
        if run.status == "finished" and run.record.metrics:
            accuracy = run.record.metrics.test.accuracy_last
            if is_usable(accuracy):
                values[run.record.noise.sha256, run.seed] = accuracy
    return values


def _verdict(comparison: Comparison | None) -> Verdict:
    if comparison is None or comparison.significant is None:
        return "untested"
    if comparison.significant:
        return "worse"
    return "tied" if comparison.n >= LEAST_N_TIE else "untested"


def _sentence(rows: Sequence[Row], best: Row, n_pairs: int) -> str:
    named = {v: [r.name for r in rows if r.verdict == v] for v in ("tied", "worse", "untested")}
    if best.n < LEAST_N_TIE:
        seeds = "1 seed" if best.n == 1 else f"{best.n} seeds"
        found = f" Significantly worse all the same: {', '.join(named['worse'])}."
        return (
            f"No ties with the best are marked: {seeds}, and below {LEAST_N_TIE} the corrected "
            f"test misses large differences.{found if named['worse'] else ''}"
        )
    rule = (
        f"paired t-test over {best.n} seeds, Holm-corrected over {n_pairs} "
        f"pair{'' if n_pairs == 1 else 's'}, p >= {ALPHA}"
    )
    tied = ", ".join(named["tied"]) or "nothing"
    constant = ", ".join(named["untested"])
    rest = f" Not tested, the same difference on every seed: {constant}." if constant else ""
    return f"Tied with the best, {best.name} ({rule}): {tied}.{rest}"
