"""Write what was measured into README.md and docs/selectors.md, from leaderboard/records/.

python tools/measured.py            # rewrites the tables and the lines of each method
python tools/measured.py --check    # exit code 1 where a page is not that of the records
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from nlbench.contribution import read_runs
from nlbench_leaderboard.ranking.board import RANKED_BY, Board, Row
from nlbench_leaderboard.ranking.rank import rank_boards

ROOT = Path(__file__).parents[1]
README, PAGE, RECORDS = ROOT / "README.md", ROOT / "docs/selectors.md", ROOT / "leaderboard/records"
LEAST_METHODS = 10  # boards of two or three methods are for another question
WIDTH = 110
# Human labels have no nominal rate; the caption says that it is estimated there.
ESTIMATED = " (noise_rate=estimated)"
HUMAN = {"worse": "worst label", "aggre": "majority", "random1": "first label"}


@dataclass(frozen=True)
class Group:
    """Boards of one table: what they are, which files have them, what a reader must know."""

    heading: str
    what: str
    files: str
    caption: str


GROUPS = (
    Group(
        "## Measured on photographs",
        "photographs",
        "photos-*.json",
        "CIFAR-10, 50 000 photographs, a linear head on frozen EfficientNet-Lite0 "
        "([features.md](features.md)). Where labels are human, methods that take a noise rate "
        "estimate it.",
    ),
    Group(
        "## Measured on digits",
        "digits",
        "digits-*.json",
        "Small images, encoders made for glyphs: which method wins on photographs is another "
        "question.",
    ),
)


def main() -> int:
    """Rewrite the pages, or say whether they have to be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    asked = parser.parse_args()
    groups = [(group, boards(group)) for group in GROUPS]
    groups = [(group, some) for group, some in groups if some]
    old = False
    for path, write in ((PAGE, page), (README, readme)):
        now = path.read_text(encoding="utf-8")
        wanted = write(now, groups)
        if asked.check and wanted != now:
            print(f"{path.name} is not that of the records: run `python tools/measured.py`")
            old = True
        elif wanted != now:
            path.write_text(wanted, encoding="utf-8")
    return int(old)


def boards(group: Group) -> list[Board]:
    """Return the boards of these files on which most methods are; human labels first."""
    runs = [run for path in sorted(RECORDS.glob(group.files)) for run in read_runs(path)]
    ranked = rank_boards([run.record for run in runs])
    some = [board for board in ranked if len(_current(board)) >= LEAST_METHODS]
    return sorted(some, key=lambda board: (board.noise.kind != "human", -_rate(board), board.id))


def readme(text: str, groups: list[tuple[Group, list[Board]]]) -> str:
    """Return the README with the table of the first group between its two marks."""
    table = "\n".join(_table(groups[0][1], short=True))
    return re.sub(
        r"(<!-- measured -->\n).*?(<!-- /measured -->)",
        lambda found: f"{found[1]}{table}\n{found[2]}",
        text,
        flags=re.DOTALL,
    )


def page(text: str, groups: list[tuple[Group, list[Board]]]) -> str:
    """Return the page of methods with the tables, and with the lines of each method."""
    for group in GROUPS:
        text = re.sub(rf"{group.heading}\n.*?(?=^## )", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^- \*\*Measured\*\*.*\n(?:  .*\n)*", "", text, flags=re.MULTILINE)
    head, first, rest = text.partition("\n## aum\n")
    tables = "\n".join(_section(group, some) for group, some in groups)
    parts = re.split(
        r"(?=^#{2,3} )", f"{head}\n{tables}\n{first.lstrip()}{rest}", flags=re.MULTILINE
    )
    return "".join(_with_lines(part, groups) for part in parts)


def _section(group: Group, some: list[Board]) -> str:
    text = (
        "Test accuracy after the last epoch in percent, ± half the 95 % t-interval over "
        f"{len(some[0].seeds)} seeds, best mean in bold; the mean place is over these boards. "
        f"{group.caption} Made by `python tools/measured.py` from "
        "[leaderboard/records](../leaderboard/records)."
    )
    return "\n".join([group.heading, "", textwrap.fill(text, WIDTH), "", *_table(some), ""])


def _with_lines(section: str, groups: list[tuple[Group, list[Board]]]) -> str:
    name = section.split("\n", 1)[0].lstrip("# ").strip()
    lines = "".join(
        textwrap.fill(line, WIDTH, initial_indent="- ", subsequent_indent="  ") + "\n"
        for group, some in groups
        if (line := _line(name, group, some))
    )
    return f"{section.rstrip()}\n{lines}\n" if lines else section


def _line(name: str, group: Group, some: list[Board]) -> str:
    """Return where a method stood best and worst, or nothing where it is not ranked."""
    rows = [(board, row) for board in some for row in _ranked(board) if _name(row) == name]
    if not rows:
        return ""
    by_rank = sorted(rows, key=lambda pair: (pair[1].rank or 0, -pair[1].stats[RANKED_BY].mean))
    (best_board, best), (worst_board, worst) = by_rank[0], by_rank[-1]
    f1 = [row.stats["selection_f1"].mean for _, row in rows if "selection_f1" in row.stats]
    keeps_all = all(row.stats["kept_fraction"].mean == 1 for _, row in rows)
    selected = "" if keeps_all or not f1 else f" F1 of the selection {_span(f1)}."
    if len(rows) == 1:
        return (
            f"**Measured** on {group.what}: place {best.rank} of {len(_ranked(best_board))}, "
            f"{_noise(best_board)} ({_percent(best)} %).{selected}"
        )
    return (
        f"**Measured** on {group.what}: place {best.rank} of {len(_ranked(best_board))} at best, "
        f"{_noise(best_board)} ({_percent(best)} %), {worst.rank} of {len(_ranked(worst_board))} "
        f"at worst, {_noise(worst_board)} ({_percent(worst)} %).{selected}"
    )


def _table(some: list[Board], short: bool = False) -> list[str]:
    """Return accuracy by method and board, the best mean rank first; short has links instead."""
    ranks: dict[str, list[int]] = {}
    cells: dict[tuple[str, str], str] = {}
    for board in some:
        best = min((row.rank for row in _ranked(board) if row.rank), default=0)
        for row in _current(board):
            name = _name(row)
            cells[name, board.id] = f"**{_cell(row)}**" if row.rank == best else _cell(row)
            if row.rank:
                ranks.setdefault(name, []).append(row.rank)
    order = sorted(ranks, key=lambda name: (statistics.mean(ranks[name]), name))
    bounds = [row.name for row in _current(some[0]) if row.bound]
    found = {_name(row): row.stats.get("selection_auroc") for row in _current(some[0])}
    second = f"AUROC, {_noise(some[0])}" if short else "mean place"
    head = ["method", second, *(_noise(board) for board in some)]
    lines = [f"| {' | '.join(head)} |", f"| --- {'| ---: ' * (len(head) - 1)}|"]
    for name in [*bounds, *order] if short else [*order, *bounds]:
        place = f"{statistics.mean(ranks[name]):.1f}" if name in ranks else "–"
        auroc = found.get(name)
        # A loss that keeps everything ranks nothing.
        ranks_labels = auroc is not None and (auroc.mean, auroc.sd) != (0.5, 0.0)
        area = f"{100 * auroc.mean:.1f}" if auroc and ranks_labels else "–"
        first = [_linked(name, name in bounds), area] if short else [f"`{name}`", place]
        line = [*first, *(cells.get((name, board.id), "–") for board in some)]
        lines.append(f"| {' | '.join(line)} |")
    return lines


def _linked(name: str, is_bound: bool) -> str:
    anchor = "none-oracle-random" if name in ("none", "oracle", "random") else name
    return f"[`{name}`](docs/selectors.md#{anchor})" + (" (bound)" if is_bound else "")


def _cell(row: Row) -> str:
    stats = row.stats[RANKED_BY]
    if not stats.interval:
        return f"{100 * stats.mean:.2f}"
    return f"{100 * stats.mean:.2f} ± {50 * (stats.interval[1] - stats.interval[0]):.2f}"


def _current(board: Board) -> list[Row]:
    """Return the methods as they come; variants of one are on the page."""
    rows = (row for row in board.rows if row.accuracy and not row.older)
    return [row for row in rows if "(" not in _name(row)]


def _ranked(board: Board) -> list[Row]:
    return [row for row in _current(board) if row.rank is not None]


def _name(row: Row) -> str:
    return row.name.removesuffix(ESTIMATED)


def _noise(board: Board) -> str:
    if board.noise.kind == "human":
        label_set = str(board.noise.params.get("label_set"))
        return f"human, {HUMAN.get(label_set, label_set)}"
    rate = board.noise.nominal_rate
    return board.noise.kind if rate is None else f"{board.noise.kind} {rate:g}"


def _rate(board: Board) -> float:
    return board.noise.realized_rate or 0.0


def _percent(row: Row) -> str:
    return f"{100 * row.stats[RANKED_BY].mean:.1f}"


def _span(shares: list[float]) -> str:
    low, high = min(shares), max(shares)
    return f"{100 * low:.0f} to {100 * high:.0f} %"


if __name__ == "__main__":
    sys.exit(main())
