"""Between the training loop and a run's checkpoints: when one is due, and what is in it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nlbench.checkpoints import Checkpoint, CheckpointFolder, ResumeError, restored, saved
from nlbench.errors import PausedError, text_of
from nlbench.runner.attempt import Attempt
from nlbench.runner.batch_selection import BatchSelection
from nlbench.runner.online_selection import OnlineSelection, RelabelAccuracy
from nlbench.runner.pausing import why_end
from nlbench.runner.workplace import Workplace
from nlbench.selector import Selection, TrainingData
from nlbench.training.task import Training, TrainingOutcome

log = logging.getLogger("nlbench")

# Writing may take a fiftieth of the time, unless every epoch is asked for.
_LEAST_RATIO = 50


@dataclass(frozen=True, eq=False)
class Parts:
    """What of a run beside its training goes into a checkpoint.

    Attributes:
        asked: What asks an online or batch selector; None for selectors that chose before.
        first: What these chose.
        view: What the selector sees; an estimated noise rate is kept in it.
        warnings: Of the record, so far.
        relabelling: Watches what the trainer relabels.
        seconds: Returns those of this process by the record's names, for a training so far.
    """

    asked: OnlineSelection | BatchSelection | None
    first: Selection
    view: TrainingData
    warnings: list[str]
    relabelling: RelabelAccuracy
    seconds: Callable[[TrainingOutcome], Mapping[str, float]]


@dataclass(eq=False)
class Checkpointing:
    """Saves a run where that is due, puts a saved one back, and ends it early where it must.

    Attributes:
        folder: Where checkpoints are; None in a process that writes none.
        place: Says how often, and when to end.
        run_name: What the run is called in messages.
        attempt: This try, with the seconds of what it goes on from.
        earlier: What to go on from; None for the beginning.
        parts: Set when training is about to begin.
        has_written: Whether this try has written one.
    """

    folder: CheckpointFolder | None
    place: Workplace
    run_name: str
    attempt: Attempt
    earlier: Checkpoint | None = None
    parts: Parts | None = None
    has_written: bool = False
    _since: float = field(default_factory=time.monotonic)
    _cost_s: float = 0.0
    _is_off: bool = False

    def chosen_before(self) -> Selection | None:
        """Return what the selector chose before training; None where it is to be asked."""
        if self.earlier is None:
            return None
        selection: Selection | None = restored(self.earlier.content["first"])
        return selection

    def begin(self, training: Training) -> None:
        """Put back what was saved.

        Raises:
            ResumeError: if it does not fit.
        """
        self._since = time.monotonic()
        if self.earlier is None or self.parts is None:
            return
        content, parts = self.earlier.content, self.parts
        training.restore(content["training"])
        restored(content["asked"], parts.asked)
        parts.relabelling.restore(restored(content["relabelling"]))
        if content["estimated_rate"] is not None:
            vars(parts.view)["_estimated_rate"] = content["estimated_rate"]
        said = content["warnings"]
        parts.warnings.extend(text for text in said if text not in parts.warnings)
        if self.folder is not None:
            log.warning("%s goes on after epoch %d.", self.run_name, training.epoch)

    def reached(self, training: Training, n_epochs: int) -> None:
        """Write a checkpoint where one is due.

        Raises:
            PausedError: if the run is to end early.
        """
        why = why_end(self.place.deadline)
        if self.place.ranks is not None:  # a signal may have reached one process only
            why = self.place.ranks.from_first(why)
        if why or self._is_due():
            self._write(training)
        if why:
            then = "starts it anew" if self._is_off else "goes on from there"
            number = training.outcome.n_rounds
            of_round = f" of round {number}" if number > 1 else ""
            raise PausedError(
                f"{self.run_name} ends early ({why}) after epoch {training.epoch} of {n_epochs}"
                f"{of_round}. "
                f"The same command {then}."
            )

    def _is_due(self) -> bool:
        every_s, waited_s = self.place.checkpoint_every_s, time.monotonic() - self._since
        return waited_s >= every_s and (every_s == 0 or waited_s >= _LEAST_RATIO * self._cost_s)

    def _write(self, training: Training) -> None:
        if self._is_off or self.parts is None or self.folder is None:
            return
        started = time.monotonic()
        try:
            facts = {"attempt": self.attempt.number, "epoch": training.epoch}
            self.folder.write(self._content(training, self.parts), facts)
            self.has_written = True
        except ResumeError as error:
            self._is_off = True
            log.warning(
                "%s has no checkpoints, and starts anew if it is killed: %s",
                self.run_name, text_of(error),
            )  # fmt: skip
        except Exception as error:  # a full disk, a plugin's own `saved_state`
            log.warning("%s goes on without a checkpoint: %s", self.run_name, text_of(error))
        self._since = time.monotonic()
        self._cost_s = self._since - started

    def _content(self, training: Training, parts: Parts) -> dict[str, Any]:
        return {
            "training": training.saved(),
            "asked": saved(parts.asked, "the selection"),
            "first": saved(parts.first if parts.asked is None else None, "the selection"),
            "relabelling": saved(parts.relabelling.curves),
            "estimated_rate": vars(parts.view).get("_estimated_rate"),
            "warnings": list(parts.warnings),
            "times": self.attempt.times(**parts.seconds(training.outcome)).model_dump(),
            "n_resumed": self.attempt.n_resumed,
        }
