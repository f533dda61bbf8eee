"""Records -> the files of a leaderboard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nlbench.results import RunRecord, write_atomic
from nlbench_leaderboard.export import to_csv, to_json, to_markdown
from nlbench_leaderboard.page import to_html
from nlbench_leaderboard.rank import rank_boards


@dataclass(frozen=True)
class Paths:
    """Where the leaderboard was written."""

    html: Path
    markdown: Path
    csv: Path
    json: Path


def build(records: Iterable[RunRecord], out_dir: Path, problems: Sequence[str] = ()) -> Paths:
    """Rank the records and write `index.html` and `leaderboard.md`, `.csv` and `.json`.

    The files depend on the records alone, not on the clock: the same records give the same bytes.

    Args:
        records: The runs, in any order.
        out_dir: Folder to write to; it is made where missing, files of those names are replaced.
        problems: One message per record that could not be read; shown on the page.
    """
    boards = rank_boards(records)
    paths = Paths(
        html=out_dir / "index.html",
        markdown=out_dir / "leaderboard.md",
        csv=out_dir / "leaderboard.csv",
        json=out_dir / "leaderboard.json",
    )
    write_atomic(paths.html, to_html(boards, problems))
    write_atomic(paths.markdown, to_markdown(boards, problems))
    write_atomic(paths.csv, to_csv(boards))
    write_atomic(paths.json, to_json(boards, problems))
    return paths
