"""Records of one run that differ, in sentences: the numbers, the machines and the next steps."""

from __future__ import annotations

from nlbench_leaderboard.formats.numbers import percent
from nlbench_leaderboard.ranking.board import Board, Disagreement, RecordedValue
from nlbench_leaderboard.ranking.notes import plural

MOST = 5
"""More differing runs per board are counted, not listed; the JSON file has all."""
NEXT_STEPS = (
    "nlbench compare A B shows everything in which two records or files differ; "
    "nlbench verify FILE --rerun N repeats N runs of a file here."
)


def disagreement_lines(board: Board) -> list[str]:
    """Return a sentence per run whose records differ, and the next steps; mostly nothing."""
    if not board.disagreements:
        return []
    lines = [_line(one) for one in board.disagreements[:MOST]]
    if len(board.disagreements) > MOST:
        n = len(board.disagreements) - MOST
        lines.append(f"{plural(n, 'more run')} with records that differ: see leaderboard.json.")
    return [*lines, f"The newest record counts. Next: {NEXT_STEPS}"]


def _line(one: Disagreement) -> str:
    values = "; ".join(map(_value, one.records))
    more = one.n_numbers - 1
    rest = f" {plural(more, 'more number')} {'differs' if more == 1 else 'differ'}." if more else ""
    return (
        f"{len(one.records)} records of one run differ: {one.row}, seed {one.seed}, run "
        f"{one.fingerprint[:12]}. {one.number}: {values}.{rest}"
    )


def _value(one: RecordedValue) -> str:
    share = "not measured" if one.value is None else f"{percent(one.value, 4)} %"
    when = f", {one.finished_at[:10]}" if one.finished_at else ""
    return f"{share} (torch {one.torch}; {one.machine}{when})"
