"""One run, read top to bottom: prepare -> select -> train -> evaluate -> record."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nlbench.config.code_versions import refuse_edited
from nlbench.config.resolve import resolve
from nlbench.config.run_config import RunConfig
from nlbench.errors import (
    DataError,
    NlbenchError,
    PausedError,
    RefusedError,
    RunError,
    text_of,
)
from nlbench.machine import (
    deterministic_algorithms,
    memory_limit_words,
    resolve_device,
    suitable_threads,
)
from nlbench.machine.joining import joined, require_devices
from nlbench.machine.ranks import acting_as
from nlbench.plugins import registry
from nlbench.results.gallery import write_gallery
from nlbench.results.record import RunRecord
from nlbench.results.samples import SelectedSamples, write_predictions, write_selection
from nlbench.results.store import RunStore
from nlbench.runner.attempt import Attempt
from nlbench.runner.checkpointing import Checkpointing
from nlbench.runner.ends_of_ranks import others_named
from nlbench.runner.inputs import Inputs, prepare
from nlbench.runner.ranks_of_run import (
    follow,
    require_alone_or_started,
    require_same_config,
    tell_begin,
    tell_end,
)
from nlbench.runner.recording import failed_record, finished_record, running_record
from nlbench.runner.resuming import RunCheckpoints
from nlbench.runner.steps import Choice, Result, evaluate, select, train
from nlbench.runner.workplace import (
    CHECKPOINT_EVERY_S,
    Progress,
    Workplace,
    deadline_after,
    no_progress,
    open_tracker,
)
from nlbench.surroundings import noting
from nlbench.tracking.run_log import RunLog

log = logging.getLogger("nlbench")

_SEE_RECORD = " The traceback is in the record: "


def run(
    selector: str | None = None,
    dataset: str | None = None,
    noise: str | None = None,
    noise_rate: float | None = None,
    seed: int | None = None,
    *,
    trainer: str | None = None,
    epochs: int | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    plugins: Sequence[str | Path] = (),
    data_dir: str | Path | None = None,
    device: str = "auto",
    devices: int | None = None,
    tracking_uri: str | None = None,
    track: bool = True,
    force: bool = False,
    deterministic: bool = False,
    home: str | Path | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    max_time_s: float | None = None,
    progress: Progress = no_progress,
) -> RunRecord:
    """Run one selector on one noisy data set, or return the record of an earlier run.

    Args:
        selector: Name, or ``name:key=value,...``; clipcleaner where left out.
        dataset: Name, or ``folder:PATH``; digits where left out.
        noise: Kind of noise; symmetric where left out.
        noise_rate: In [0, 1); 0.4 where left out.
        seed: Seed for noise, initial weights and batch order (independent streams).
        trainer: Name of the trainer.
        epochs: Epochs of the trainer.
        recipe: Name or file of a recipe.
        settings: More settings, as ``--set`` takes them.
        plugins: Python files that define extra selectors.
        data_dir: Folder that contains the data sets.
        device: auto, cpu, cuda, cuda:N or mps.
        devices: Number of processes that share this run, one for each GPU, or on the CPU; those
            that torchrun has started where left out, else one. The record is the same in all of
            them, and the first one writes it.
        tracking_uri: MLflow store; the local one if left out.
        track: Whether to log to MLflow at all.
        force: Repeat a finished run.
        deterministic: Bit-identical results on a GPU, slower; a finished run without it is not
            repeated unless forced.
        home: Where records go; `NLBENCH_HOME` where left out.
        checkpoint_every_s: Seconds between checkpoints, at least; 0 for every epoch. A run that
            was killed goes on from the last one when it is asked for again.
        max_time_s: After so many seconds it ends early, with a checkpoint, at an epoch's end.
        progress: Called with (stage, done, total).

    Returns:
        The record, also on disk in the local store.

    Raises:
        ConfigError, DataError, PluginError: if a name, setting, file or plugin is wrong.
        RunError: if the selector or the training failed; the failed record is in the store and in
            the error's `record`.
        PausedError: if it ended early.
    """
    for file in plugins:
        registry.add_plugin_file(Path(file))
    where = None if data_dir is None else Path(data_dir).expanduser()
    config = resolve(
        selector=selector, dataset=dataset, noise=noise, noise_rate=noise_rate, seed=seed,
        trainer=trainer, epochs=epochs, recipe=recipe, settings=settings, data_dir=where,
    )  # fmt: skip
    require_devices(devices, device)
    require_alone_or_started(devices)
    store, ranks = RunStore(home), joined(device)
    place = Workplace(
        store, ranks.device if ranks else resolve_device(device), None, where, force,
        deterministic, checkpoint_every_s, deadline_after(max_time_s), ranks=ranks,
    )  # fmt: skip
    with acting_as(ranks), others_named(ranks):
        if ranks is not None:
            require_same_config(config, ranks)
            if not ranks.is_first:
                return follow(config, place, ranks, _chosen_and_trained)
        earlier = earlier_record(config, place)
        if earlier is not None:
            return tell_end(earlier)
        tracker = open_tracker(tracking_uri, store) if track else None
        return run_config(config, replace(place, tracker=tracker), progress)


def earlier_record(
    config: RunConfig, place: Workplace, say: Callable[[str], None] = lambda text: None
) -> RunRecord | None:
    """Return the record of an earlier run that ended well; None if there is none, or with force.

    Failed, killed and diverged runs are done again, and those whose record is damaged; `say` is
    told of the latter.

    Raises:
        RefusedError: if the operating system does not let us read it.
    """
    if place.force:
        return None
    try:
        record = place.store.read(config.fingerprint)
    except DataError as error:
        say(f"A damaged record is done again and kept beside the new one. It was: {error}")
        return None
    if record is None or record.status != "finished":
        return None
    # From before a training that diverged counted as failed.
    return None if record.diverged_at else record


def run_config(config: RunConfig, place: Workplace, progress: Progress = no_progress) -> RunRecord:
    """Run one configuration and record it, finished or failed.

    What another process finished in the meantime is not done again, unless forced.

    Raises:
        NlbenchError: if the run failed; where it got as far as the selector, the failed record
            is in the store and in the error's `record`.
        PausedError: if it ended early; it goes on when it is asked for again.
    """
    refuse_edited(config)
    with place.store.claim(config.fingerprint) as claim:
        earlier = earlier_record(config, place, log.warning)
        if earlier is not None:
            return tell_end(earlier)
        tell_begin()
        attempt = Attempt.begin(claim.attempt, place.device)
        log_run = RunLog(place.tracker, place.store, claim)
        progress("data", 0, 1)
        inputs = _prepared(config, place)
        started = running_record(attempt, inputs)
        place.store.write_started(started)
        log_run.begin(started)
        checkpoints = RunCheckpoints(config, place, claim)
        try:
            run_from = partial(_run, inputs, claim.folder, progress)
            with others_named(place.ranks):
                record = checkpoints.go_on(attempt, run_from)
            place.store.write(record)
        except BaseException as error:
            # Ctrl-C, too: the run counts as interrupted.
            if isinstance(error, KeyboardInterrupt | PausedError):
                raise
            checkpoints.failed(error)
            record = failed_record(attempt, inputs, error)
            failure = _as_nlbench_error(error, record)
            try:
                place.store.write(record)
            except NlbenchError as second:
                log_run.abandon(text_of(second))
                raise _unrecorded(failure, second) from error
            log_run.finish(record)
            raise failure from error
        checkpoints.discard()
        log_run.finish(record)
        return tell_end(record)


def _prepared(config: RunConfig, place: Workplace) -> Inputs:
    """Return the inputs; what a data set or noise throws has no record yet, but a word."""
    try:
        return prepare(config, place)
    except (NlbenchError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RunError(
            f"data set {config.dataset.name!r} with noise {config.noise.kind!r} failed: "
            f"{type(error).__name__}: {text_of(error)}{_place_of(error, None)}."
        ) from error


def _run(inputs: Inputs, folder: Path, progress: Progress, checkpoints: Checkpointing) -> RunRecord:
    choice, result = _chosen_and_trained(inputs, checkpoints, progress)
    metrics = evaluate(inputs, result)
    record = finished_record(checkpoints.attempt, inputs, choice, result, metrics)
    _write_samples(folder, inputs, choice, result)
    return record


def _chosen_and_trained(
    inputs: Inputs, checkpoints: Checkpointing, progress: Progress = no_progress
) -> tuple[Choice, Result]:
    """Do what every process of a run does."""
    place = inputs.workplace
    with (
        suitable_threads(place.device, inputs.n_pixels),
        deterministic_algorithms(place.device, place.deterministic),
        noting() as notes,
    ):
        choice = select(inputs, progress, checkpoints.chosen_before())
        result = train(inputs, choice, checkpoints, progress)
    choice.bank.warnings.extend(notes)
    return choice, result


def _write_samples(folder: Path, inputs: Inputs, choice: Choice, result: Result) -> None:
    samples = SelectedSamples(
        ids=inputs.data.train_ids,
        positions=inputs.fit,
        images=choice.images,
        noisy_labels=inputs.noisy_labels(inputs.fit),
        clean_labels=inputs.clean_labels,
        selection=result.selection,
    )
    write_selection(folder, samples)
    write_predictions(folder, result.test_labels, result.training)
    write_gallery(folder, samples, inputs.config.dataset.name)


def _as_nlbench_error(error: BaseException, record: RunRecord) -> NlbenchError:
    failure = error if isinstance(error, NlbenchError) else _run_error(error, record)
    failure.record = record
    return failure


def _unrecorded(failure: NlbenchError, second: NlbenchError) -> NlbenchError:
    """Return the failure of a run of which not even that could be recorded."""
    if isinstance(failure, RefusedError):  # the same disk, and the same next step
        return failure
    first = text_of(failure).partition(_SEE_RECORD)[0]
    return RunError(f"{first} Nor can this be recorded: {text_of(second)}")


def _run_error(error: BaseException, record: RunRecord) -> RunError:
    name = record.selector.name
    where = _place_of(error, registry.find("selectors", name).path)
    memory = f" {memory_limit_words()}" if isinstance(error, MemoryError) else ""
    return RunError(
        f"{name} failed: {type(error).__name__}: {text_of(error)}{where}.{memory}{_SEE_RECORD}"
        f"`nlbench show run {record.fingerprint[:12]}`."
    )


def _place_of(error: BaseException, own: Path | None) -> str:
    """Return the line that raised: a plugin's own helps its author more than a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    last = next((f for f in reversed(frames) if Path(f.filename) == own), frames[-1])
    return f" (at {Path(last.filename).name}:{last.lineno})"
