"""One run in several processes: the first writes and decides, the others do the same and follow."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from nlbench.checkpoints import Checkpoint, ResumeError
from nlbench.config.run_config import RunConfig
from nlbench.errors import ConfigError, PluginError
from nlbench.machine.joining import world_size
from nlbench.machine.ranks import Ranks, active
from nlbench.results.record import RunRecord
from nlbench.runner.attempt import Attempt
from nlbench.runner.checkpointing import Checkpointing
from nlbench.runner.inputs import Inputs, prepare
from nlbench.runner.workplace import Workplace
from nlbench.selector import Selection

log = logging.getLogger("nlbench")


def tell_begin() -> None:
    """Have the other processes read the data too."""
    _tell("begin")


def tell_attempt(earlier: Checkpoint | None) -> None:
    """Have the other processes run too, from this checkpoint or from the beginning."""
    if active() is None:
        return
    # As in its file, whose reader keeps what shares memory together.
    content = io.BytesIO()
    if earlier is not None:
        torch.save(earlier.content, content)
    _tell("run", content.getvalue())


def tell_end(record: RunRecord) -> RunRecord:
    """Have the other processes return this record; return it."""
    _tell("record", record.to_json())
    return record


def _tell(what: str, value: Any = None) -> None:
    ranks = active()
    if ranks is not None:
        ranks.from_first((what, value))


def require_alone_or_started(n_devices: int | None) -> None:
    """Refuse several devices in a process that nobody has started the others of.

    Raises:
        ConfigError: with two ways to start them.
    """
    if (n_devices or 1) > world_size():
        raise ConfigError(
            f"devices={n_devices} needs {n_devices} processes that run the same script, and this "
            f"is one alone. Start it with torchrun --nproc-per-node {n_devices}, or use "
            f"`nlbench run --devices {n_devices}`."
        )


def require_same_config(config: RunConfig, ranks: Ranks) -> None:
    """Refuse processes that were asked for another run than the first.

    Raises:
        ConfigError: in such a process.
    """
    first = ranks.from_first(config.fingerprint)
    if first != config.fingerprint:
        raise ConfigError(
            f"all processes of a run must have the same settings and files, got run "
            f"{config.fingerprint[:12]} in process {ranks.index} and {first[:12]} in the first. "
            "Start all of them with the same command, on the same files."
        )


def follow(
    config: RunConfig,
    place: Workplace,
    ranks: Ranks,
    run: Callable[[Inputs, Checkpointing], object],
) -> RunRecord:
    """Do what the first process does, write nothing, and return its record.

    Args:
        config: The run.
        place: This process's.
        ranks: All processes.
        run: Selects and trains.

    Raises:
        NlbenchError: what the first one raises, too.
    """
    inputs: Inputs | None = None
    log.disabled = True  # the first one says it all
    while True:
        told: tuple[str, Any] = ("", None)
        what, value = ranks.from_first(told)
        if what == "record":
            return RunRecord.from_json(value)
        if inputs is None:
            inputs = prepare(config, place)
        if what == "run":
            try:
                run(inputs, _Following(ranks, place, _checkpoint(value, place.device)))
            except ResumeError:
                continue  # with the checkpoint before, as the first one does


def _checkpoint(content: bytes, device: torch.device) -> Checkpoint | None:
    """Return what `tell_attempt` sent."""
    if not content:
        return None

    def place(storage: Any, location: str) -> Any:
        return storage if location == "cpu" else storage.to(device)

    read = torch.load(io.BytesIO(content), map_location=place, weights_only=True)
    return Checkpoint(0, {}, read)


class _Following(Checkpointing):
    """Takes over what the first process read, and writes nothing."""

    def __init__(self, ranks: Ranks, place: Workplace, earlier: Checkpoint | None) -> None:
        attempt = Attempt.begin(0, place.device)
        super().__init__(None, place, f"process {ranks.index}", attempt, earlier)


def answer_of_first(selection: Selection) -> Selection:
    """Return what the selector answered in the first process.

    It is asked in all of them, since all have a part in the embeddings that it asks for; where its
    answers differ, as on GPUs by rounding, one counts.
    """
    ranks = active()
    if ranks is None:
        return selection
    own = {field.name: getattr(selection, field.name) for field in fields(selection)}
    tensors = {name: value.cpu() for name, value in own.items() if isinstance(value, Tensor)}
    device = selection.keep.device
    counts: dict[str, Any] = dict.fromkeys(tensors)
    counts |= {name: value.to(device) for name, value in ranks.from_first(tensors).items()}
    return replace(selection, **counts)


def require_shared(trainer: str) -> None:
    """Refuse a trainer that has done everything in each of several processes.

    Raises:
        PluginError: with what to derive from.
    """
    ranks = active()
    if ranks is not None and not ranks.has_shared:
        raise PluginError(
            f"trainer {trainer!r} has a training loop of its own, which each of {ranks.n} devices "
            "would do as a whole. Derive it from nlbench.LossTrainer or call run_epochs, or run it "
            "on one device."
        )
