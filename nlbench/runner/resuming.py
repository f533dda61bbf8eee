"""A run from its last checkpoint that can be taken up, else from the one before, else anew."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from dataclasses import replace

from nlbench.checkpoints import Checkpoint, CheckpointFolder, ResumeError
from nlbench.config.run_config import RunConfig
from nlbench.errors import DataError, DivergedError, text_of
from nlbench.machine import package_versions
from nlbench.results.record import RunRecord
from nlbench.results.store import Claim
from nlbench.runner.attempt import Attempt
from nlbench.runner.checkpointing import Checkpointing
from nlbench.runner.ranks_of_run import tell_attempt
from nlbench.runner.workplace import Workplace

log = logging.getLogger("nlbench")

FOLDER = "checkpoints"


class RunCheckpoints:
    """The checkpoints of one run, under its lock."""

    def __init__(self, config: RunConfig, place: Workplace, claim: Claim) -> None:
        self._place = place
        self._run_name = f"run {config.fingerprint[:12]}"
        self._folder = CheckpointFolder(claim.folder / FOLDER, made_with(place), log.warning)
        self._last: Checkpointing | None = None
        self._finished_attempt = _finished_attempt(config, place)

    def go_on(self, attempt: Attempt, run: Callable[[Checkpointing], RunRecord]) -> RunRecord:
        """Run from the newest checkpoint that can be taken up, else from the beginning."""
        for checkpoint in self._folder.newest_first(self._place.device):
            if checkpoint.facts["attempt"] <= self._finished_attempt:
                break  # its run has ended well, and is now to be done again
            try:
                return run(self._try(attempt, checkpoint))
            except ResumeError as error:
                log.warning(
                    "%s cannot go on after epoch %s: %s",
                    self._run_name, checkpoint.facts["epoch"], text_of(error),
                )  # fmt: skip
        self._folder.discard()
        return run(self._try(attempt, None))

    def failed(self, error: BaseException) -> None:
        """Take note of a failure: what would only fail again is not gone on from.

        A run that failed by itself, as for lack of memory, goes on when it is asked for again; one
        that failed as soon as it went on begins anew.
        """
        got_nowhere = self._last is not None and self._last.earlier and not self._last.has_written
        if got_nowhere or isinstance(error, DivergedError):
            self._folder.discard()

    def discard(self) -> None:
        """Delete them: the run has ended well."""
        self._folder.discard()

    def _try(self, attempt: Attempt, earlier: Checkpoint | None) -> Checkpointing:
        if earlier is not None:
            content = earlier.content
            attempt = replace(attempt, earlier=content["times"], n_resumed=content["n_resumed"] + 1)
        tell_attempt(earlier)
        self._last = Checkpointing(self._folder, self._place, self._run_name, attempt, earlier)
        return self._last


def made_with(place: Workplace) -> dict[str, str]:
    """Return what a checkpoint must share with the process that takes it up.

    The configuration and the code's versions are in the fingerprint, and so in the folder's name.
    """
    return {
        **package_versions(),
        "python": platform.python_version(),
        "device": place.device.type,
        "deterministic algorithms": str(place.deterministic),
    }


def _finished_attempt(config: RunConfig, place: Workplace) -> int:
    """Return the attempt that ended well; 0 where none did."""
    try:
        record = place.store.read(config.fingerprint)
    except DataError:
        return 0
    return record.attempt if record is not None and record.status == "finished" else 0
