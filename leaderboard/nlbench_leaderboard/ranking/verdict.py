"""Which rows of a board are tied with the best, and the sentence that says so.

The best row is the ranked one with every seed and the highest mean; rows with the same mean are
best as well. Another row with every seed is *worse* where the paired t-test against the best,
Holm-corrected over the comparisons with the best, has p < 0.05, and *tied* where it has not and
there are at least five seeds. These comparisons are all that the verdict asks: corrected over all
pairs of a board of thirty methods (435), five seeds would find hardly any difference. With fewer
seeds the corrected test misses large differences, so that "not significant" says nothing: untested.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from nlbench_leaderboard.ranking.board import Row, Verdict
from nlbench_leaderboard.ranking.paired import ALPHA, Comparison, compare_all, holm
from nlbench_leaderboard.ranking.stats import is_usable

LEAST_N_TIE = 5


def compare_rows(rows: Sequence[Row]) -> tuple[Comparison, ...]:
    """Compare all pairs of ranked rows, and these with the lower reference, by last accuracy."""
    mine = [r for r in rows if r.accuracy and not r.older and r.bound != "upper"]
    return compare_all([(row.name, _cells(row)) for row in mine])


def judge(
    rows: Sequence[Row], best: Row | None, comparisons: Sequence[Comparison]
) -> tuple[tuple[Row, ...], str]:
    """Return how each complete row compares with the best.

    Args:
        rows: All rows of a board; their names are unique.
        best: The first of the best.
        comparisons: Of all pairs.

    Returns:
        The rows with their verdict, and the sentence for the board.
    """
    rivals = [row for row in rows if row.rank is not None and row is not best]
    if best is None or not rivals:
        return tuple(rows), ""
    if not best.is_complete:
        return tuple(rows), "No selector has every seed, so no ties with the best are marked."
    against = _with_the_best(comparisons, best.name, {r.name for r in rivals if r.is_complete})
    verdicts = {r.name: _verdict(against.get(r.name)) for r in rivals if r.is_complete}
    same = [best.name, *(r.name for r in rivals if r.is_complete and r.rank == best.rank)]
    verdicts |= dict.fromkeys(same, "best")
    judged = tuple(dataclasses.replace(r, verdict=verdicts.get(r.name, "")) for r in rows)
    n_pairs = sum(c.t_p is not None for c in against.values())
    return judged, _sentence(judged, best.n, n_pairs)


def _with_the_best(
    comparisons: Sequence[Comparison], best: str, rivals: Collection[str]
) -> dict[str, Comparison]:
    """Return the comparisons with the best by the other row, corrected for being so many."""
    mine = {
        c.second if c.first == best else c.first: c
        for c in comparisons
        if best in (c.first, c.second)
    }
    mine = {name: c for name, c in mine.items() if name in rivals}
    corrected = holm([c.t_p for c in mine.values()])
    return {
        name: dataclasses.replace(c, t_p_holm=p)
        for (name, c), p in zip(mine.items(), corrected, strict=True)
    }


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


def _sentence(rows: Sequence[Row], n_seeds: int, n_pairs: int) -> str:
    names = {
        v: ", ".join(r.name for r in rows if r.verdict == v)
        for v in ("best", "tied", "worse", "untested")
    }
    if n_seeds < LEAST_N_TIE:
        worse = f" Significantly worse even so: {names['worse']}." if names["worse"] else ""
        return (
            f"Too few seeds ({n_seeds}) to say who is really best; run at least {LEAST_N_TIE}."
            f"{worse}"
        )
    n_best = sum(row.verdict == "best" for row in rows)
    equal = f"The same mean: {names['best']}. " if n_best > 1 else ""
    rule = (
        f"paired t-test over {n_seeds} seeds, Holm-corrected over {n_pairs} "
        f"comparison{'' if n_pairs == 1 else 's'} with the best, p {{}} {ALPHA}"
    )
    untested = names["untested"]
    rest = f" Not tested, the same difference on every seed: {untested}." if untested else ""
    first = names["best"] if n_best == 1 else "the best"
    if names["tied"]:
        whom = "the best" if n_best > 1 else f"the best, {first}"
        return f"{equal}Tied with {whom} ({rule.format('>=')}): {names['tied']}.{rest}"
    if not names["worse"]:
        return f"{equal}{rest}".strip()
    others = "the others that were tested" if untested else "all others"
    verb = "is" if n_best == 1 else "are"
    who = first[0].upper() + first[1:] if n_best > 1 else first
    return f"{equal}{who} {verb} significantly better than {others} ({rule.format('<')}).{rest}"
