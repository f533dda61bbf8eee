"""The shapes that `rank` produces and that every output format reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from nlbench.results.record import DatasetInfo, Metrics, NoiseInfo, ProtocolInfo, RunRecord, Times
from nlbench_leaderboard.ranking.gap import Gap
from nlbench_leaderboard.ranking.grouping import RowKey
from nlbench_leaderboard.ranking.paired import Cell, Comparison
from nlbench_leaderboard.ranking.stats import Summary, is_usable
from nlbench_leaderboard.ranking.titles import NO_WORDS, BoardWords
from nlbench_leaderboard.ranking.versus import Difference

RunStatus = Literal["finished", "failed", "running", "interrupted", "excluded", "superseded"]
Bound = Literal["", "upper", "lower"]
Verdict = Literal["", "best", "not separable", "worse", "not tested"]
"""How a complete, ranked row compares with the best; empty for all other rows."""
NoneVerdict = Literal["", "better", "not separable", "no better", "worse", "not tested"]
"""How a complete, ranked row compares with `none`; empty for all other rows."""
NoGap = Literal["", "no oracle", "no none", "nothing to close"]
"""Why a board has no gap to close; empty where it has one."""

RANKED_BY = "accuracy_last"
"""The one number that decides a rank: test accuracy after the last epoch."""

AGAINST_NOISY_LABELS = "against noisy labels"
"""Marks an accuracy that was measured on a test set whose labels are not known to be right."""


@dataclass(frozen=True)
class Column:
    """One number of a run: its title, its unit, and how to read it from a record."""

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
        "Test accuracy, best epoch (chosen on the test set)",
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


class RunPlace(NamedTuple):
    """Where a run is: its board, the unique name of its row there, and its position in that row.

    It says which of several records with one fingerprint is meant.
    """

    board: str
    row: str
    position: int


@dataclass(frozen=True)
class Row:
    """One selector on one board, with one set of versions of all components.

    `name` is unique on the board: the label, with a tag where several rows have the same label.
    `n_expected` is the number of seeds on the board. `older` says which components have newer
    versions, and is empty for a current row. `rank` is None for bounds, for rows of older versions
    and for rows without a finished run. `selector_version` is the selector's own version.
    `to_best` and `to_none` are its differences to the best row and to `none`; `gap` is how much of
    the way from `none` to the oracle it goes. Each is None where it cannot be measured.
    """

    key: RowKey
    name: str
    bound: Bound
    knowledge: tuple[str, ...]
    runs: tuple[SeedRun, ...]
    missing_seeds: tuple[int, ...]
    n_expected: int
    stats: Mapping[str, Summary]
    notes: tuple[str, ...]
    older: str = ""
    selector_version: str = ""
    rank: int | None = None
    verdict: Verdict = ""
    none_verdict: NoneVerdict = ""
    to_best: Difference | None = None
    to_none: Difference | None = None
    gap: Gap | None = None

    @property
    def label(self) -> str:
        """The selector's name with the hyper-parameters that differ from the defaults."""
        return self.key.label

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
        """`finished` with at least one run that counts, else the state of the others."""
        states = {run.status for run in self.runs}
        order: tuple[RunStatus, ...] = (
            "finished",
            "running",
            "interrupted",
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

    def accuracies(self) -> dict[Cell, float]:
        """Return the accuracy of each finished run by its noisy labels and its seed."""
        finished = (run.record for run in self.runs if run.status == "finished")
        return {
            (record.noise.sha256, record.seed): record.metrics.test.accuracy_last
            for record in finished
            if record.metrics and is_usable(record.metrics.test.accuracy_last)
        }


@dataclass(frozen=True)
class RecordedValue:
    """One number as one of several records of a run has it, and where that record was made."""

    value: float | None
    torch: str
    machine: str
    finished_at: str


@dataclass(frozen=True)
class Disagreement:
    """Records of one run whose numbers differ.

    Attributes:
        row: Name of the row.
        seed: The run's seed.
        fingerprint: What the records share.
        number: Title of the most important number that differs.
        n_numbers: How many numbers differ.
        records: That number in each record, oldest record first.
    """

    row: str
    seed: int
    fingerprint: str
    number: str
    n_numbers: int
    records: tuple[RecordedValue, ...]


@dataclass(frozen=True)
class OlderRuns:
    """The runs of a board that older versions made.

    `parts` names what has a newer version, `line` says it in one sentence with the next step.
    """

    n_runs: int
    n_without_versions: int
    parts: tuple[str, ...]
    line: str


@dataclass(frozen=True)
class Saturation:
    """Why a board hardly separates methods; `nlbench_leaderboard.ranking.saturation` has the rules.

    Attributes:
        rule: Which rule says so.
        room: Mean of oracle - none, a share; None where the board lacks one of them.
        detectable: About what two methods must differ by, a share; None where nothing was tested.
        n_near, n_methods: Methods inside the interval of the best one's mean, of how many.
    """

    rule: Literal["nothing to close", "small room", "at the top"]
    room: float | None
    detectable: float | None
    n_near: int
    n_methods: int


@dataclass(frozen=True)
class Board:
    """Everything that may be compared: one data set, one noise, one protocol.

    `rows` are all rows, those of older versions last. `comparisons` holds every pair of rows that
    are ranked, and of those with the lower reference. `room` is oracle - none with its 95 %
    interval, `no_gap` says why there is nothing between them to close. `words` are the title's
    parts.
    """

    id: str
    title: str
    dataset: DatasetInfo
    noise: NoiseInfo
    protocol: ProtocolInfo
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    older: OlderRuns | None = None
    disagreements: tuple[Disagreement, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    room: Difference | None = None
    no_gap: NoGap = ""
    saturation: Saturation | None = None
    words: BoardWords = NO_WORDS

    @property
    def main_rows(self) -> tuple[Row, ...]:
        """The rows of the table: the current ones, or all where no row is current."""
        return tuple(row for row in self.rows if not row.older) or self.rows

    @property
    def older_rows(self) -> tuple[Row, ...]:
        """The rows of older versions that are not among the main rows."""
        if all(row.older for row in self.rows):
            return ()
        return tuple(row for row in self.rows if row.older)

    @property
    def best(self) -> Row | None:
        """The best row that has every seed; where no row has, the best of all.

        Of several with the same mean it is the first by name.
        """
        ranked = [row for row in self.rows if row.rank is not None]
        return next((row for row in ranked if row.is_complete), ranked[0] if ranked else None)

    @property
    def against_noisy_labels(self) -> bool:
        """Whether the labels of the test set are as noisy as those of the training set."""
        return not self.dataset.test_labels_are_clean

    def count(self, status: RunStatus) -> int:
        """Return the number of current runs in one state."""
        return sum(len(row.seeds_with(status)) for row in self.main_rows)

    @property
    def n_runs(self) -> int:
        """How many records the board has, whatever became of them."""
        return sum(len(row.runs) for row in self.rows)

    def bound(self, bound: Bound) -> Row | None:
        """Return the first finished row of a bound."""
        return next((r for r in self.main_rows if r.bound == bound and r.accuracy), None)
