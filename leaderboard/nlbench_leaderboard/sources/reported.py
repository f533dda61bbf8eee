"""Published numbers, shown beside the measured ones and never among them.

A file in `reported/` holds one source. Its numbers come from another protocol, mostly the best
epoch on the test set: they are not comparable, have no rank, and no statistics are made of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nlbench.errors import DataError
from nlbench.files import parse_yaml
from nlbench.results.record import DatasetInfo, NoiseInfo, Share
from nlbench_leaderboard.ranking.board import Board

HEADING = "Reported elsewhere (not comparable: other protocol)"

_Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    # strict: a rate of "0.4" or an accuracy of true is a slip in the file, not a number.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(_Part):
    """Where numbers were published; `arxiv` is the bare number, such as 2408.10012."""

    title: _Text
    authors: str = ""
    venue: _Text
    arxiv: str = Field("", pattern=r"^(\d{4}\.\d{4,5})?$")

    @property
    def url(self) -> str:
        """Where to read it; "" where it has no number."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""

    @property
    def text(self) -> str:
        """The source on one line."""
        arxiv = f"arXiv {self.arxiv}" if self.arxiv else ""
        return ", ".join(part for part in (self.authors, self.title, self.venue, arxiv) if part)


class Result(_Part):
    """One published number.

    Attributes:
        datasets: All names that the data set has here.
        noise: Kind of noise; ``none`` where labels are noisy as shipped.
        rate: Nominal rate, where the kind has one.
        noise_params: Parameters of the noise that a board must have; it may have others. With null,
            the board must leave the parameter out.
        split: Required start of the name of the data set's split.
        noise_text: The noise in words.
        accuracy_best: Share at the best epoch on the test set.
        accuracy_last: Share at the last epoch.
        n_seeds: How many seeds were averaged; None where the source does not state it.
    """

    datasets: list[_Text] = Field(min_length=1)
    noise: _Text
    rate: Share | None = None
    noise_params: dict[str, Any] = {}
    split: str = ""
    noise_text: _Text
    method: _Text
    network: _Text
    accuracy_best: Share | None = None
    accuracy_last: Share | None = None
    n_seeds: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _has_a_number(self) -> Result:
        if self.accuracy_best is None and self.accuracy_last is None:
            raise ValueError("must have accuracy_best, accuracy_last or both")
        return self

    def matches(self, dataset: DatasetInfo, noise: NoiseInfo) -> bool:
        """Return whether a board has this data set and this noise."""
        return (
            dataset.name in self.datasets
            and dataset.split.startswith(self.split)
            and noise.kind == self.noise
            and _same_rate(self.rate, noise.nominal_rate)
            and all(noise.params.get(key) == value for key, value in self.noise_params.items())
        )


class ReportedFile(_Part):
    """One source with its protocol and its numbers."""

    source: Source
    protocol: _Text
    results: list[Result] = Field(min_length=1)


@dataclass(frozen=True)
class Reported:
    """One published number with where it comes from."""

    result: Result
    source: Source
    protocol: str


@cache
def shipped() -> tuple[Reported, ...]:
    """Return the published numbers that are part of nlbench."""
    folder = files("nlbench_leaderboard.sources") / "reported"
    paths = [Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return tuple(row for path in sorted(paths) for row in read_reported(path))


def read_reported(path: Path) -> list[Reported]:
    """Read one file of published numbers.

    Raises:
        DataError: if it is missing, not YAML, or incomplete.
    """
    try:
        content = ReportedFile.model_validate(parse_yaml(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"published numbers in '{path}': {where}: {first['msg']}. Correct the file."
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"published numbers in '{path}' cannot be read: {error}. Correct the file."
        ) from None
    return [Reported(row, content.source, content.protocol.strip()) for row in content.results]


def reported_for(board: Board) -> tuple[Reported, ...]:
    """Return the numbers that belong beside a board: by method, then by source."""
    rows = [row for row in shipped() if row.result.matches(board.dataset, board.noise)]
    return tuple(sorted(rows, key=lambda row: (row.result.method.lower(), row.source.text)))


def _same_rate(reported: float | None, nominal: float | None) -> bool:
    if reported is None or nominal is None:
        return reported is nominal
    return math.isclose(reported, nominal)
