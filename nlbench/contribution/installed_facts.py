"""What the components that records name say of themselves: titles, licences, papers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nlbench.errors import NlbenchError
from nlbench.plugins import registry
from nlbench.results.record import RunRecord

# Both are written in many ways: arXiv 2408.10012, arXiv:2408.10012v2, doi 10.1145/3, https://doi.org/10...
_PAPER = re.compile(
    r"arXiv[\s:]+(?P<arxiv>\d{4}\.\d{4,5})|doi(?:\.org/|[\s:]+)(?P<doi>10\.\d{4,9}/[\w./()-]*\w)",
    re.IGNORECASE,
)
_MOST_PAPERS = 4


@dataclass(frozen=True)
class DataFacts:
    """What a data source says of its data; `title` is empty where it has no name of its own."""

    title: str
    origin: str
    licence: str


@dataclass(frozen=True)
class Paper:
    """A paper by its number: ``arXiv 2408.10012`` or ``doi 10.1145/3``."""

    kind: Literal["arXiv", "doi"]
    number: str

    @property
    def text(self) -> str:
        """The paper as printed."""
        return f"{self.kind} {self.number}"

    @property
    def url(self) -> str:
        """Where to read it; the host is one of two, whatever the docstring says."""
        host = "arxiv.org/abs" if self.kind == "arXiv" else "doi.org"
        return f"https://{host}/{self.number}"


@dataclass(frozen=True)
class InstalledFacts:
    """Of the components that records name and that are installed here.

    Attributes:
        data: By the data set's name in records.
        selector_papers, trainer_papers: By the component's name; without those that name none.
    """

    data: Mapping[str, DataFacts]
    selector_papers: Mapping[str, tuple[Paper, ...]]
    trainer_papers: Mapping[str, tuple[Paper, ...]]


def installed_facts_of(records: Iterable[RunRecord]) -> InstalledFacts:
    """Return what is installed here about the data sets and methods of records."""
    every = list(records)
    sources = sorted({name for record in every if (name := _source_name(record))})
    data = {name: facts for name in sources if (facts := _data_facts(name))}
    return InstalledFacts(
        data,
        _papers_by_name("selectors", {record.selector.name for record in every}),
        _papers_by_name("trainers", {record.trainer.name for record in every}),
    )


def papers_in(docstring: str) -> tuple[Paper, ...]:
    """Return the papers that the paragraph "Paper:" of a docstring names by number, in its order.

    >>> [paper.url for paper in papers_in("A rule.\\n\\nPaper: Doe, X 2020, arXiv 2001.00001.")]
    ['https://arxiv.org/abs/2001.00001']
    """
    paragraphs = re.split(r"\n\s*\n", docstring)
    own = next((p for p in paragraphs if re.match(r"\s*Papers?:", p)), "")
    papers = (
        Paper("arXiv", match["arxiv"]) if match["arxiv"] else Paper("doi", match["doi"])
        for match in _PAPER.finditer(own)
    )
    return tuple(dict.fromkeys(papers))[:_MOST_PAPERS]


def _source_name(record: RunRecord) -> str:
    """Return the data source of a record whose data set is called as the source is, else ""."""
    source = record.config.get("dataset")
    name = source.get("name") if isinstance(source, Mapping) else None
    return record.dataset.name if name == record.dataset.name else ""


def _data_facts(name: str) -> DataFacts | None:
    try:
        source = registry.find("datasets", name).load()
    except NlbenchError:  # not installed here, or broken
        return None
    return DataFacts(*(str(getattr(source, key, "")) for key in ("title", "origin", "licence")))


def _papers_by_name(
    kind: Literal["selectors", "trainers"], names: Iterable[str]
) -> dict[str, tuple[Paper, ...]]:
    known = registry.components(kind)
    paths = {name: known[name].path for name in sorted(names) if name in known}
    papers = {name: papers_in(_docstrings(path)) for name, path in paths.items() if path}
    return {name: some for name, some in papers.items() if some}


def _docstrings(path: Path) -> str:
    """Return the docstrings of a module and its classes, read as text: nothing is imported."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return ""
    texts = [ast.get_docstring(tree)]
    texts += [ast.get_docstring(node) for node in tree.body if isinstance(node, ast.ClassDef)]
    return "\n\n".join(filter(None, texts))
