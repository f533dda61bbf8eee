"""Write what was measured into docs/selectors.md, from the records of leaderboard/records/.

python tools/measured.py            # rewrites the table and the line of each method
python tools/measured.py --check    # exit code 1 where the page is not that of the records
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import textwrap
from pathlib import Path

from nlbench.contribution import read_runs
from nlbench_leaderboard.ranking.board import RANKED_BY, Board, Row
from nlbench_leaderboard.ranking.rank import rank_boards

ROOT = Path(__file__).parents[1]
PAGE, RECORDS = ROOT / "docs/selectors.md", ROOT / "leaderboard/records"
HEADING = "## Measured on digits"
LEAST_METHODS = 10  # boards of two or three methods are for another question
WIDTH = 110


def main() -> int:
    """Rewrite the page, or say whether it has to be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    asked = parser.parse_args()
    now = PAGE.read_text(encoding="utf-8")
    wanted = page(now, boards())
    if asked.check and wanted != now:
        print("docs/selectors.md is not that of the records: run `python tools/measured.py`")
        return 1
    if not asked.check:
        PAGE.write_text(wanted, encoding="utf-8")
    return 0


def boards() -> list[Board]:
    """Return the boards of digits on which most methods are."""
    runs = [run for path in sorted(RECORDS.glob("digits-*.json")) for run in read_runs(path)]
    ranked = rank_boards([run.record for run in runs])
    return [board for board in ranked if len(_current(board)) >= LEAST_METHODS]


def page(text: str, some: list[Board]) -> str:
    """Return the page with the table and lines of these boards."""
    text = re.sub(rf"{HEADING}\n.*?(?=^## )", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^- \*\*Measured\*\*:.*\n(?:  .*\n)*", "", text, flags=re.MULTILINE)
    head, first, rest = text.partition("\n## aum\n")
    text = f"{head}\n{_table(some)}\n{first.lstrip()}{rest}"
    parts = re.split(r"(?=^#{2,3} )", text, flags=re.MULTILINE)
    return "".join(_with_line(part, some) for part in parts)


def _with_line(section: str, some: list[Board]) -> str:
    name = section.split("\n", 1)[0].lstrip("# ").strip()
    line = _line(name, some)
    if not line:
        return section
    wrapped = textwrap.fill(line, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return f"{section.rstrip()}\n{wrapped}\n\n"


def _line(name: str, some: list[Board]) -> str:
    """Return where a method stood best and worst, or nothing where it is not ranked."""
    rows = [(board, row) for board in some for row in _ranked(board) if row.name == name]
    if not rows:
        return ""
    by_rank = sorted(rows, key=lambda pair: (pair[1].rank or 0, -pair[1].stats[RANKED_BY].mean))
    (best_board, best), (worst_board, worst) = by_rank[0], by_rank[-1]
    f1 = [row.stats["selection_f1"].mean for _, row in rows if "selection_f1" in row.stats]
    is_loss = all(row.stats["kept_fraction"].mean == 1 for _, row in rows)
    selected = "" if is_loss or not f1 else f" F1 of the selection {_span(f1)}."
    return (
        f"**Measured**: place {best.rank} of {len(_ranked(best_board))} at best, "
        f"{_noise(best_board)} ({_percent(best)} %), {worst.rank} of {len(_ranked(worst_board))} "
        f"at worst, {_noise(worst_board)} ({_percent(worst)} %).{selected}"
    )


def _table(some: list[Board]) -> str:
    """Return accuracy by method and board, the best mean rank first."""
    ranks: dict[str, list[int]] = {}
    cells: dict[tuple[str, str], str] = {}
    for board in some:
        best = min((row.rank for row in _ranked(board) if row.rank), default=0)
        for row in _current(board):
            stats = row.stats[RANKED_BY]
            half = stats.interval or (0.0, 0.0)
            text = f"{100 * stats.mean:.2f} ± {100 * (half[1] - half[0]) / 2:.2f}"
            cells[row.name, board.id] = f"**{text}**" if row.rank == best else text
            if row.rank:
                ranks.setdefault(row.name, []).append(row.rank)
    order = sorted(ranks, key=lambda name: (statistics.mean(ranks[name]), name))
    bounds = [row.name for row in _current(some[0]) if row.bound]
    head = ["method", "mean place", *(_noise(board) for board in some)]
    lines = [
        HEADING,
        "",
        "Test accuracy after the last epoch in percent, ± half the 95 % t-interval over 5 seeds, "
        "best mean in bold;",
        "the mean place is over these boards. Small images, encoders made for glyphs: which method "
        "wins on photographs",
        "is another question. Made by `python tools/measured.py` from "
        "[leaderboard/records](../leaderboard/records).",
        "",
        f"| {' | '.join(head)} |",
        f"| --- {'| ---: ' * (len(head) - 1)}|",
    ]
    for name in [*order, *bounds]:
        place = f"{statistics.mean(ranks[name]):.1f}" if name in ranks else "–"
        row = [f"`{name}`", place, *(cells.get((name, board.id), "–") for board in some)]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join([*lines, ""])


def _current(board: Board) -> list[Row]:
    return [row for row in board.rows if row.accuracy and not row.older]


def _ranked(board: Board) -> list[Row]:
    return [row for row in _current(board) if row.rank is not None]


def _noise(board: Board) -> str:
    rate = board.noise.nominal_rate
    return board.noise.kind if rate is None else f"{board.noise.kind} {rate:g}"


def _percent(row: Row) -> str:
    return f"{100 * row.stats[RANKED_BY].mean:.1f}"


def _span(shares: list[float]) -> str:
    low, high = min(shares), max(shares)
    return f"{100 * low:.0f} to {100 * high:.0f} %"


if __name__ == "__main__":
    sys.exit(main())
