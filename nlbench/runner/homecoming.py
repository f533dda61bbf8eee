"""Runs that took place elsewhere, put into the driver's home: files, record, MLflow."""

from __future__ import annotations

from contextlib import ExitStack

from nlbench.config.run_config import RunConfig
from nlbench.errors import NlbenchError, text_of
from nlbench.files import read_if_there, write_atomic
from nlbench.results.record import RunRecord
from nlbench.results.store import BESIDE, Claim, RunStore
from nlbench.runner.cell import Cell
from nlbench.runner.delivery import Delivery
from nlbench.runner.recording import as_configured
from nlbench.runner.run import earlier_record
from nlbench.runner.workplace import Workplace
from nlbench.tracking.run_log import RunLog


def packed(cell: Cell, store: RunStore) -> Delivery:
    """Return a cell that ended here with the files that its run left in a store."""
    folder = store.folder(cell.config.fingerprint)
    record = cell.record or store.read(cell.config.fingerprint)
    contents = {name: read_if_there(folder / name) for name in BESIDE}
    return Delivery(
        cell.status,
        "" if record is None else record.to_json(),
        cell.message,
        cell.wall_s,
        {name: content for name, content in contents.items() if content is not None},
    )


class Homecoming:
    """The driver's side of one cell elsewhere: holds its claim, and MLflow is written from here.

    Raises:
        BusyError: if another live process has the fingerprint.
    """

    def __init__(self, config: RunConfig, place: Workplace) -> None:
        self.config, self._place = config, place
        self._held = ExitStack()
        claim = self._held.enter_context(place.store.claim(config.fingerprint))
        self._claim, self._log = claim, RunLog(place.tracker, place.store, claim)
        self._has_begun = False

    def earlier(self) -> Cell | None:
        """Return what another process finished before the claim was ours, and end it."""
        record = earlier_record(self.config, self._place)
        if record is None:
            return None
        self._held.close()
        return Cell(self.config, "already finished", record)

    def begun(self, record: str) -> None:
        """Note a run that has its inputs, as JSON; of one that a machine repeats, the first."""
        if self._has_begun:
            return
        self._has_begun = True
        started = self._ours(record)
        self._place.store.write_started(started)
        self._log.begin(started)

    def ended(self, delivery: Delivery) -> Cell:
        """Write what came home; a home that does not take it has the cell fail."""
        try:
            record = self._kept(delivery) if delivery.record else None
        except NlbenchError as error:
            return self.failed(f"its result cannot be kept: {text_of(error)}")
        self._held.close()
        if delivery.status == "failed":  # as of a cell that failed here
            return Cell(self.config, "failed", message=delivery.message)
        return Cell(self.config, delivery.status, record, delivery.message, delivery.wall_s)

    def failed(self, message: str) -> Cell:
        """Return the cell as failed without a record, such as one whose machine is lost."""
        self._log.abandon(message)
        self._held.close()
        return Cell(self.config, "failed", message=message)

    def cancel(self) -> None:
        """Let go of the claim; the run counts as interrupted, as after Ctrl-C here."""
        stop = KeyboardInterrupt()
        try:
            self._held.__exit__(KeyboardInterrupt, stop, None)
        except KeyboardInterrupt as error:
            if error is not stop:
                raise

    def _kept(self, delivery: Delivery) -> RunRecord:
        record, folder = self._ours(delivery.record), self._claim.folder
        for name in BESIDE:
            if name in delivery.files:
                write_atomic(folder / name, delivery.files[name])
        self._place.store.write(record)
        if not self._has_begun:
            self._log.begin(record)
        self._log.finish(record)
        return record

    def _ours(self, record: str) -> RunRecord:
        return as_configured(
            RunRecord.from_json(record, source=f"the result of run {self.config.fingerprint[:12]}"),
            self.config, self._place, self._claim.attempt,
        )  # fmt: skip


class OnSharedDisk:
    """The driver's side of one cell whose process writes its record into the same home itself.

    Attributes:
        is_taken: Whether another live process has the run.
    """

    def __init__(self, config: RunConfig, place: Workplace) -> None:
        self._config, self._place = config, place
        with place.store.held(config.fingerprint) as is_held:
            self.is_taken = not is_held
        self._attempts_before = self._attempts()

    def ended(self, delivery: Delivery) -> Cell:
        """Return the cell, and write its record to MLflow from here."""
        config, place = self._config, self._place
        try:
            record = place.store.read(config.fingerprint)
        except NlbenchError as error:
            return Cell(config, "failed", message=f"its record cannot be read: {text_of(error)}")
        if record is not None and record.attempt > self._attempts_before:
            claim = Claim(place.store.folder(config.fingerprint), record.attempt, False, None)
            RunLog(place.tracker, place.store, claim).finish(record)
        if delivery.status in ("finished", "already finished"):
            if record is None:
                message = "its job has finished, and its record is not in the home. Is it shared?"
                return Cell(config, "failed", message=message)
            return Cell(config, delivery.status, record, delivery.message, delivery.wall_s)
        return Cell(config, delivery.status, None, delivery.message, delivery.wall_s)

    def _attempts(self) -> int:
        """Return how often the cell was run before; 0 where its record cannot be read."""
        try:
            record = self._place.store.read(self._config.fingerprint)
        except NlbenchError:
            return 0
        return 0 if record is None else record.attempt
