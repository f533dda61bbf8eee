"""What the foot of the page says: how to add, repeat and cite, the papers, the data, the code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nlbench.contribution import DataFacts, InstalledFacts, Paper
from nlbench.results.record import RunRecord
from nlbench_leaderboard.ranking.board import Board
from nlbench_leaderboard.sources.citation import bibtex, code_url, installed_version

_PREPARE = "nlbench new selector my-idea\nnlbench check my_idea.py"
_HAND_IN = (
    "nlbench sweep --plugin my_idea.py --selector my-idea --noise symmetric:0.4 --seeds 0-4\n"
    "nlbench export --all --selector my-idea --out my-idea.json\n"
    "nlbench verify my-idea.json"
)
_REPEAT = (
    "nlbench verify FILE --rerun 3\n"
    "nlbench leaderboard --records FILE --only-records --out site --open"
)


@dataclass(frozen=True)
class MethodPapers:
    """A method of the page and the papers that its components name."""

    method: str
    papers: tuple[Paper, ...]


@dataclass(frozen=True)
class DataSource:
    """A data set of the page, with what its source says of it."""

    name: str
    facts: DataFacts


@dataclass(frozen=True)
class About:
    """The facts of the foot of the page; commands are texts of one or more lines."""

    papers: tuple[MethodPapers, ...] = ()
    data: tuple[DataSource, ...] = ()
    version: str = field(default_factory=installed_version)
    code: str = field(default_factory=code_url)
    prepare: str = _PREPARE
    hand_in: str = _HAND_IN
    repeat: str = _REPEAT

    @property
    def bibtex(self) -> str:
        """How to cite nlbench."""
        return bibtex(self.version, self.code)


def about_of(boards: Sequence[Board], facts: InstalledFacts) -> About:
    """Return what the page says of the methods and data sets on its boards."""
    records = [row.runs[-1].record for board in boards for row in board.rows]
    methods = {record.method or record.selector.name: record for record in records}
    papers = ((name, _papers(methods[name], facts)) for name in sorted(methods))
    names = sorted({board.dataset.name for board in boards})
    return About(
        tuple(MethodPapers(name, some) for name, some in papers if some),
        tuple(DataSource(name, facts.data[name]) for name in names if name in facts.data),
    )


def _papers(record: RunRecord, facts: InstalledFacts) -> tuple[Paper, ...]:
    """Return the papers of selector and trainer, each once."""
    selector = facts.selector_papers.get(record.selector.name, ())
    trainer = facts.trainer_papers.get(record.trainer.name, ())
    return tuple(dict.fromkeys((*selector, *trainer)))
