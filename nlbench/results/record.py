"""The one shape of a result: `RunRecord`, and how it goes to JSON and back."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from nlbench.errors import DataError
from nlbench.files import require_bounded
from nlbench.results.digests import unsealed
from nlbench.results.older_records import in_todays_shape

SCHEMA_VERSION = 1
N_SEEDS = 2**63
"""What tables can hold: seeds are below it."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Part(BaseModel):
    # Unknown fields are kept out: a record that this version cannot read in full is refused,
    # not half-read.
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class SelectorInfo(_Part):
    """Which selector ran, with which hyper-parameters, and what it was given to know.

    `params` holds all hyper-parameters, `variant` those that differ from the defaults.
    `deviation` says what differs from the paper's method;
    `is_reference` marks the lower reference, `is_bound` what was given the truth. `source_sha256`
    is in records that were made before `RunRecord.versions` was.
    """

    name: str
    params: dict[str, Any] = {}
    variant: dict[str, Any] = {}
    knowledge: list[str] = []
    is_bound: bool = False
    is_reference: bool = False
    deviation: str = ""
    source_sha256: str = ""


class TrainerInfo(_Part):
    """Which trainer the method trains with.

    `params` holds all its settings, `variant` those that differ from its usual ones on this data,
    steps, network and augmentation aside, which are the protocol's.
    """

    name: str
    params: dict[str, Any] = {}
    variant: dict[str, Any] = {}
    deviation: str = ""


class DatasetInfo(_Part):
    """The data set as the run saw it; `n_train` counts the validation part too.

    `passed_over` (reason -> number of files and folders, the first names) is what a folder holds
    and the run did not take, `copies` (in the same form) what is there more than once. Where
    `test_labels_are_clean` is False, accuracies are against noisy labels.
    """

    name: str
    fingerprint: str
    n_train: int
    n_test: int
    n_classes: int
    n_unreadable: int = 0
    class_names: list[str] = []
    split: str = ""
    passed_over: dict[str, tuple[int, tuple[str, ...]]] = {}
    copies: dict[str, tuple[int, tuple[str, ...]]] = {}
    warnings: list[str] = []
    test_labels_are_clean: bool = True


class NoiseInfo(_Part):
    """The noisy labels: the nominal rate, the realized one, and their hash.

    Where the clean labels are not known, the rates are None and the matrix is empty.
    """

    kind: str
    nominal_rate: float | None
    realized_rate: Share | None
    sha256: str
    params: dict[str, Any] = {}
    transition_matrix: list[list[float]] = []
    realized_rate_per_class: list[float] = []


class ProtocolInfo(_Part):
    """What all methods on a board share; boards are keyed by `sha256`.

    That is steps, network, augmentation and the protocol; the rest of the trainer is the method's.
    """

    id: str
    sha256: str
    version: int
    settings: dict[str, Any] = {}


class SelectionMetrics(_Part):
    """Quality of a selection; the positive class is 'the label is clean'.

    All but `kept_fraction` are None where the clean labels are not known. `precision_at_*` is the
    share of clean labels among the samples that the score puts first: the same number of samples
    for every selector, so it judges the ranking without the threshold. None in records that were
    made before it was measured.
    """

    precision: Share | None
    recall: Share | None
    f1: Share | None
    auroc: Share | None
    auprc: Share | None
    kept_fraction: Share
    noise_rate_before: Share | None
    noise_rate_after: Share | None
    worst_class_recall: Share | None
    recall_per_class: list[float | None] = []
    precision_at_25: Share | None = None
    precision_at_50: Share | None = None
    precision_at_75: Share | None = None
    precision_at_clean_share: Share | None = None


class TestMetrics(_Part):
    """Accuracy on the test set; `accuracy_best_oracle` is chosen on the test set and never ranked.

    `other_tests` has the last epoch's accuracy on further test sets of the data, by their names.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    accuracy_last: Share
    accuracy_noisy_val: Share | None
    accuracy_best_oracle: Share
    accuracy_per_class: list[float | None] = []
    epoch_noisy_val: int | None = None
    epoch_best_oracle: int = 0
    other_tests: dict[str, Share] = {}


class Metrics(_Part):
    """What a finished run measured, as shares in [0, 1]."""

    selection: SelectionMetrics
    test: TestMetrics


class Times(_Part):
    """Seconds per phase of the run, and peak memory in MiB."""

    data_s: float = 0.0
    embed_s: float = 0.0
    select_s: float = 0.0
    train_s: float = 0.0
    total_s: float = 0.0
    peak_memory_mb: float = 0.0


class ErrorInfo(_Part):
    """Why a run failed; the traceback has the home directory shortened."""

    type: str
    message: str
    traceback: str = ""


class RunRecord(_Part):
    """One run: identity, result, and how to repeat it.

    `versions` says which code made it, part by part (`nlbench.plugins.versions`); it is empty in
    records that were made before versions were kept. `warnings` are what libraries warned of while
    they built the encoders, and what a plugin changed around itself: such numbers may be wrong.
    `resumed` is how often the run went on from a checkpoint; where that is never, it is not
    written, so that records are the same as before there were checkpoints.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    fingerprint: str
    status: Literal["running", "finished", "failed"]
    method: str = ""
    selector: SelectorInfo
    trainer: TrainerInfo = TrainerInfo(name="")
    dataset: DatasetInfo
    noise: NoiseInfo
    seed: Annotated[int, Field(ge=0, lt=N_SEEDS)]
    protocol: ProtocolInfo
    versions: dict[str, int | str] = {}
    metrics: Metrics | None = None
    curves: dict[str, list[float | None]] = {}
    score_histogram: dict[str, list[float]] = {}
    diagnostics: dict[str, Any] = {}
    warnings: list[str] = []
    times: Times = Times()
    environment: dict[str, Any] = {}
    config: dict[str, Any] = {}
    command: str = ""
    error: ErrorInfo | None = None
    attempt: int = 1
    resumed: Annotated[int, Field(ge=0)] = 0
    started_at: str = ""
    finished_at: str = ""

    @model_serializer(mode="wrap")
    def _without_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        if not self.resumed:
            content.pop("resumed", None)
        return content

    @property
    def label(self) -> str:
        """The method's name with the settings that differ from the defaults: the row's name."""
        changed = {**self.selector.variant, **self.trainer.variant}
        name = self.method or self.selector.name
        if not changed:
            return name
        inside = ", ".join(f"{k}={_short(v)}" for k, v in sorted(changed.items()))
        return f"{name} ({inside})"

    @property
    def diverged_at(self) -> int | None:
        """The first epoch whose training loss is not finite; None where all of them are."""
        losses = self.curves.get("train_loss", [])
        return losses.index(None) + 1 if None in losses else None

    @property
    def deviation(self) -> str:
        """What differs from the paper's method, in the selector and in the trainer."""
        return "; ".join(filter(None, (self.selector.deviation, self.trainer.deviation)))

    def to_json(self) -> str:
        """Return the record as JSON text, keys in their fixed order, NaN not allowed."""
        # Not mode="json": pydantic would write NaN as null where a field may hold anything.
        return json.dumps(self.model_dump(by_alias=True), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "record") -> RunRecord:
        """Read a record, with or without digests.

        Raises:
            DataError: if the text is not a record of this schema, or not what was written; names
                `source`.
        """
        content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        try:
            record = cls.model_validate_json(in_todays_shape(unsealed(content)), strict=True)
            if _ODD_NUMBER.search(content):
                _require_numbers(record)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise _not_a_record(source, f"{where}: {first['msg']}") from None
        except (ValueError, RecursionError) as error:
            raise _not_a_record(source, str(error)) from None
        if "schema_version" not in record.model_fields_set:
            raise DataError(f"{source} is not a run record: it names no schema.")
        return record


# What JSON parsers read and tables, other parsers and `to_json` do not take; read as bytes, since
# nearly no record has it. A fraction may have many digits.
_ODD_NUMBER = re.compile(rb"NaN|Infinity|(?<![\d.])\d{19,}(?![\d.eE])|\d[eE]\+?\d{3}")


def _require_numbers(record: RunRecord) -> None:
    """Refuse a record with a number that is not finite or does not fit 64 bits."""
    content = record.model_dump()
    require_bounded(content)
    json.dumps(content, allow_nan=False)


def _not_a_record(source: str, reason: str) -> DataError:
    return DataError(
        f"{source} is not a run record of schema {SCHEMA_VERSION}: {reason[:300].rstrip('.')}. "
        "Re-run the command that made it, or remove the file."
    )


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else text[:23] + "…"
