"""The audit of a data set's labels: every image judged, and what is to be done about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.audit.applying import Applied, apply_fixes
from nlbench.audit.findings import ClassFinding, Findings, PairFinding, PictureProblem, Share
from nlbench.audit.fixes import Fixes
from nlbench.audit.judging import Verdict, agreement, vote
from nlbench.audit.rates import class_findings, pair_findings, suggestions, wrong_shares
from nlbench.audit.reasons import suspects
from nlbench.audit.samples import Samples
from nlbench.errors import ConfigError
from nlbench.scoring import margin

if TYPE_CHECKING:
    import pandas as pd

MOST_SUSPECTS = 5000


@dataclass(frozen=True, eq=False)
class Audit:
    """Which labels are wrong, as far as the selectors can tell.

    Attributes:
        samples: All N samples.
        rows: (M,) positions of the judged ones; the others are of classes that are too small.
        verdicts: Of each selector, on the judged samples.
        probabilities: (M, K) float32, out of sample; what suggestions and shares rest on.
        embeddings: (M, d) unit-norm float32 on the CPU, or None where only probabilities are known.
        problems: What else was seen in the pictures.
        encoder: Its full name; empty where embeddings or probabilities were given.
        command: The command line that repeats it; empty where Python was used.
        seconds: By stage.
    """

    samples: Samples
    rows: npt.NDArray[np.int64]
    verdicts: tuple[Verdict, ...]
    probabilities: Tensor
    embeddings: Tensor | None
    problems: tuple[PictureProblem, ...] = ()
    encoder: str = ""
    command: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def _labels(self) -> Tensor:
        return torch.from_numpy(self.samples.labels[self.rows])

    @cached_property
    def _suggested(self) -> Tensor:
        return suggestions(self.probabilities, self._labels)

    @cached_property
    def _keep(self) -> npt.NDArray[np.bool_]:
        return vote(self.verdicts)[0]

    @cached_property
    def _score(self) -> npt.NDArray[np.float64]:
        """Of one selector that works by probabilities, their margin: docs/clean.md says why."""
        only = self.verdicts[0]
        if len(self.verdicts) > 1 or only.probabilities is None:
            return vote(self.verdicts)[1]
        smallest = torch.finfo(only.probabilities.dtype).tiny
        logs = only.probabilities.clamp_min(smallest).log()
        score: npt.NDArray[np.float64] = margin(logs, self._labels).double().numpy()
        return score

    @cached_property
    def _order(self) -> npt.NDArray[np.int64]:
        """Positions of the suspects among the judged samples, the most suspicious first."""
        order = np.argsort(self._score, kind="stable")
        return order[~self._keep[order]]

    @property
    def noise_rate(self) -> Share:
        """The share of wrong labels among those judged, with the range that it lies in."""
        return self._shares[0]

    @cached_property
    def _shares(self) -> tuple[Share, dict[int, Share]]:
        return wrong_shares(self.probabilities, self._labels)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each of the N samples, in their order.

        Columns: ``file``, ``part``, ``given``, ``suggested`` (class names; the suggestion is the
        most probable other class), ``score`` (higher = cleaner), ``keep``; with several selectors
        also ``NAME.score`` and ``NAME.keep`` of each. Samples of classes that are too small have
        no suggestion and no score, and are kept.
        """
        import pandas as pd

        names, n = np.array(self.samples.class_names, dtype=object), len(self.samples)
        columns: dict[str, object] = {
            "file": list(self.samples.names),
            "part": list(self.samples.parts),
            "given": names[self.samples.labels],
            "suggested": self._spread(names[self._suggested.numpy()], None, n),
            "score": self._spread(self._score, np.nan, n),
            "keep": self._spread(self._keep, True, n).astype(bool),
        }
        if len(self.verdicts) > 1:
            for verdict in self.verdicts:
                columns[f"{verdict.name}.score"] = self._spread(verdict.score, np.nan, n)
                columns[f"{verdict.name}.keep"] = self._spread(verdict.keep, True, n).astype(bool)
        return pd.DataFrame(columns)

    def _spread(self, values: npt.NDArray[np.generic], otherwise: object, n: int) -> npt.NDArray:  # type: ignore[type-arg]
        out = np.full(n, otherwise, dtype=object if values.dtype == object else None)
        if values.dtype.kind == "f":
            out = out.astype(np.float64)
        out[self.rows] = values
        return out

    @property
    def suspects(self) -> pd.DataFrame:
        """The rows of `table` whose label is suspected, the most suspicious first."""
        return self.table.iloc[self.rows[self._order]]

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Pairs of classes among the suspects: ``given``, ``suggested``, ``n``; the most first."""
        import pandas as pd

        names = self.samples.class_names
        rows = [(names[p.given], names[p.suggested], p.n) for p in self._pairs]
        return pd.DataFrame(rows, columns=["given", "suggested", "n"])

    @cached_property
    def _pairs(self) -> tuple[PairFinding, ...]:
        return pair_findings(self._labels.numpy(), self._suggested.numpy(), ~self._keep)

    @cached_property
    def classes(self) -> tuple[ClassFinding, ...]:
        """Of every class: its judged images, how many are suspected, the share of wrong ones."""
        n = np.bincount(self.samples.labels, minlength=self.samples.n_classes)
        found = class_findings(
            self._labels.numpy(), ~self._keep, self.samples.n_classes, self._shares[1]
        )
        return tuple(replace(f, n=int(n[f.label])) for f in found)

    def findings(self, most: int = MOST_SUSPECTS) -> Findings:
        """Return all that is to be said, with reasons for the `most` suspicious labels."""
        judged = np.zeros(len(self.samples), dtype=bool)
        judged[self.rows] = True
        return Findings(
            wrong=self.noise_rate,
            classes=self.classes,
            pairs=self._pairs,
            suspects=suspects(
                self._order[:most], self.rows, self._labels, self._suggested, self._score,
                self.probabilities, self.verdicts, self.samples.class_names, self.embeddings,
            ),
            not_judged=tuple(np.flatnonzero(~judged).tolist()),
            problems=self.problems,
            selectors=tuple(verdict.name for verdict in self.verdicts),
            agreement=agreement(self.verdicts),
            encoder=self.encoder,
            seconds=self.seconds,
        )  # fmt: skip

    def to_csv(self, path: str | Path) -> Path:
        """Write `table` as CSV, whole or not at all; a cell like a formula gets an apostrophe."""
        from nlbench.audit.shown_text import cell_of
        from nlbench.files import write_atomic

        table = self.table
        for column in ("file", "part", "given", "suggested"):
            table = table.assign(**{column: table[column].map(cell_of, na_action="ignore")})
        write_atomic(Path(path), table.to_csv(index=False))
        return Path(path)

    def to_html(self, path: str | Path, most_pictures: int = MOST_SUSPECTS) -> Path:
        """Write the page: one file that needs nothing else.

        Raises:
            ConfigError: if there are no images to show.
        """
        if self.samples.images is None:
            raise ConfigError("there are no images to show: give them as the first argument.")
        from nlbench.audit.page import write_page

        return write_page(
            Path(path), self.samples, self.findings(most_pictures),
            command=self.command, most_pictures=most_pictures,
        )  # fmt: skip

    def fixes(self) -> Fixes:
        """Return one fix for each suspect: give it the suggested label."""
        names = self.samples.class_names
        return Fixes.of(
            (
                self.samples.names[int(self.rows[p])],
                "relabel",
                names[int(self._suggested[p])],
                names[int(self._labels[p])],
            )
            for p in self._order.tolist()
        )

    def apply(
        self, fixes: Fixes | str | Path, out: str | Path | None = None, in_place: bool = False
    ) -> Applied:
        """Write a corrected copy of the data set; see `nlbench.audit.applying.apply_fixes`."""
        return apply_fixes(self.samples, fixes, out, in_place=in_place)
