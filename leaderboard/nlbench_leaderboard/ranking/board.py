"""The shapes that `rank` produces and that every output format reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from nlbench.results.record import DatasetInfo, Metrics, NoiseInfo, ProtocolInfo, RunRecord, Times
from nlbench_leaderboard.ranking.grouping import RowKey
from nlbench_leaderboard.ranking.paired import Comparison
from nlbench_leaderboard.ranking.stats import Summary

RunStatus = Literal["finished", "failed", "running", "stale", "excluded", "superseded"]
Bound = Literal["", "upper", "lower"]
Verdict = Literal["", "best", "tied", "worse", "untested"]
"""How a complete, ranked row stands to the best one; nothing is said of other rows."""

RANKED_BY = "accuracy_last"
"""The one number that decides a rank: test accuracy after the last epoch."""


@dataclass(frozen=True)
class Column:
    """One number of a run: where it stands in a record, and how it is called."""

    key: str
    title: str
    unit: Literal["share", "s", "MiB"]
    read: Callable[[Metrics, Times], float | None]


COLUMNS = (
    Column(RANKED_BY, "Test accuracy, last epoch", "share", lambda m, _: m.test.accuracy_last),
    Column(
        "accuracy_noisy_val",
        "Test accuracy, epoch chosen by noisy validation",
        "share",
        lambda m, _: m.test.accuracy_noisy_val,
    ),
    Column(
        "accuracy_best_oracle",
        "Test accuracy, best test epoch (peeks)",
        "share",
        lambda m, _: m.test.accuracy_best_oracle,
    ),
    Column("selection_precision", "Precision", "share", lambda m, _: m.selection.precision),
    Column("selection_recall", "Recall", "share", lambda m, _: m.selection.recall),
    Column("selection_f1", "F1", "share", lambda m, _: m.selection.f1),
    Column("selection_auroc", "AUROC", "share", lambda m, _: m.selection.auroc),
    Column("selection_auprc", "AUPRC", "share", lambda m, _: m.selection.auprc),
    Column(
        "precision_at_clean_share",
        "Precision at the true clean share",
        "share",
        lambda m, _: m.selection.precision_at_clean_share,
    ),
    Column(
        "precision_at_25", "Precision at 25 %", "share", lambda m, _: m.selection.precision_at_25
    ),
    Column(
        "precision_at_50", "Precision at 50 %", "share", lambda m, _: m.selection.precision_at_50
    ),
    Column(
        "precision_at_75", "Precision at 75 %", "share", lambda m, _: m.selection.precision_at_75
    ),
    Column("kept_fraction", "Kept", "share", lambda m, _: m.selection.kept_fraction),
    Column("noise_rate_after", "Noise after", "share", lambda m, _: m.selection.noise_rate_after),
    Column("embed_time_s", "Embed", "s", lambda _, t: t.embed_s),
    Column("select_time_s", "Select", "s", lambda _, t: t.select_s),
    Column("train_time_s", "Train", "s", lambda _, t: t.train_s),
    Column("total_time_s", "Total", "s", lambda _, t: t.total_s),
    Column("peak_memory_mb", "Memory", "MiB", lambda _, t: t.peak_memory_mb),
)


@dataclass(frozen=True)
class SeedRun:
    """One record on a board, and whether it counts; only `finished` runs are averaged."""

    record: RunRecord
    status: RunStatus
    reason: str = ""

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.record.seed


@dataclass(frozen=True)
class Row:
    """One selector on one board.

    `tag` tells apart rows that share a label; `n_expected` is the number of seeds on the board.
    `rank` is None for bounds, for stale rows and for rows without a finished run. `stale` says
    why a row is out of date, and is empty where it is not.
    """

    key: RowKey
    tag: str
    bound: Bound
    knowledge: tuple[str, ...]
    runs: tuple[SeedRun, ...]
    missing_seeds: tuple[int, ...]
    n_expected: int
    stats: Mapping[str, Summary]
    notes: tuple[str, ...]
    stale: str = ""
    rank: int | None = None
    verdict: Verdict = ""

    @property
    def label(self) -> str:
        """The selector's name with the hyper-parameters that differ from the defaults."""
        return self.key.label

    @property
    def name(self) -> str:
        """The label, with the tag where another row has the same label."""
        return f"{self.label} [{self.tag}]" if self.tag else self.label

    @property
    def n(self) -> int:
        """How many seeds are averaged."""
        return len(self.seeds_with("finished"))

    @property
    def is_complete(self) -> bool:
        """Whether the row has a finished run for every seed of its board."""
        return self.n == self.n_expected

    @property
    def status(self) -> RunStatus:
        """`finished` with one counted run, else what kept the row from having one."""
        states = {run.status for run in self.runs}
        order: tuple[RunStatus, ...] = (
            "finished",
            "running",
            "stale",
            "failed",
            "excluded",
        )
        return next((state for state in order if state in states), "failed")

    @property
    def accuracy(self) -> Summary | None:
        """The number the row is ranked by."""
        return self.stats.get(RANKED_BY)

    @property
    def rank_text(self) -> str:
        """The rank as printed: in parentheses where seeds are missing, a dash for no rank."""
        if self.rank is None:
            return "–"
        return str(self.rank) if self.is_complete else f"({self.rank})"

    def seeds_with(self, status: RunStatus) -> tuple[int, ...]:
        """Return the seeds of the runs in one state."""
        return tuple(run.seed for run in self.runs if run.status == status)


@dataclass(frozen=True)
class Board:
    """Everything that may be compared: one data set, one noise, one protocol.

    `comparisons` holds every pair of rows that are ranked, and of those with `none`; `verdict` says
    in one sentence which rows are tied with the best, by what rule, or why nothing can be said.
    """

    id: str
    title: str
    dataset: DatasetInfo
    noise: NoiseInfo
    protocol: ProtocolInfo
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    verdict: str = ""

    @property
    def best(self) -> Row | None:
        """The best row that has every seed; where no row has, the best of all."""
        ranked = [row for row in self.rows if row.rank is not None]
        return next((row for row in ranked if row.is_complete), ranked[0] if ranked else None)

    def count(self, status: RunStatus) -> int:
        """Return the number of runs in one state."""
        return sum(len(row.seeds_with(status)) for row in self.rows)

    @property
    def n_runs(self) -> int:
        """How many records stand on this board, whatever became of them."""
        return sum(len(row.runs) for row in self.rows)

    def bound(self, bound: Bound) -> Row | None:
        """Return the first finished row of a bound."""
        return next((r for r in self.rows if r.bound == bound and r.accuracy), None)
