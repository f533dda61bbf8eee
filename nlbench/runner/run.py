"""One run, read top to bottom: data -> noise -> select -> train -> evaluate -> record."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nlbench.config.resolve import resolve
from nlbench.config.run_config import RunConfig
from nlbench.encoders.cache import EmbeddingCache, cache_dir
from nlbench.errors import NlbenchError, RunError
from nlbench.machine import deterministic_algorithms, resolve_device, suitable_threads
from nlbench.plugins import registry
from nlbench.results.gallery import write_gallery
from nlbench.results.record import RunRecord
from nlbench.results.samples import write_predictions, write_selection
from nlbench.results.store import RunStore
from nlbench.runner.recording import error_info, make_record, now
from nlbench.runner.steps import Attempt, Progress
from nlbench.tracking.run_log import RunLog

if TYPE_CHECKING:
    from nlbench.tracking import MlflowTracker

log = logging.getLogger("nlbench")


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
    tracking_uri: str | None = None,
    track: bool = True,
    force: bool = False,
    deterministic: bool = False,
    home: str | Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> RunRecord:
    """Run one selector on one noisy data set, or give the record where that was done before.

    Args:
        selector: Name, or ``name:key=value,...``; clipcleaner where left out.
        dataset: Name, or ``folder:PATH``; digits where left out.
        noise: Kind of noise; symmetric where left out.
        noise_rate: In [0, 1); 0.4 where left out.
        seed: Of noise, weights and batch order, each from its own stream.
        trainer: Name of the trainer.
        epochs: Epochs of the trainer.
        recipe: Name or file of a recipe.
        settings: Further settings, as ``--set`` takes them.
        plugins: Files with further selectors.
        data_dir: Where data lies.
        device: auto, cpu, cuda, cuda:N or mps.
        tracking_uri: MLflow store; the local one where left out.
        track: Whether to log to MLflow at all.
        force: Run again what is finished.
        deterministic: On a GPU, the same bits on every run, at a cost; a finished run without it
            is not repeated unless forced.
        home: Where records go; `NLBENCH_HOME` where left out.
        progress: Called with (stage, done, total).

    Returns:
        The record, also on disk in the local store.

    Raises:
        ConfigError, DataError, PluginError: for a mistake in what was asked for.
        RunError: if the selector or the training failed; the failed record is in the store.
    """
    for file in plugins:
        registry.add_plugin_file(Path(file))
    where = None if data_dir is None else Path(data_dir).expanduser()
    config = resolve(
        selector=selector, dataset=dataset, noise=noise, noise_rate=noise_rate, seed=seed,
        trainer=trainer, epochs=epochs, recipe=recipe, settings=settings, data_dir=where,
    )  # fmt: skip
    chosen = resolve_device(device)
    store = RunStore(None if home is None else Path(home))
    finished = None if force else finished_record(store, config)
    if finished is not None:
        return finished
    tracker = open_tracker(tracking_uri, store) if track else None
    return run_config(config, store, chosen, tracker, where, progress, force, deterministic)


def finished_record(store: RunStore, config: RunConfig) -> RunRecord | None:
    """Return the record of a run that ended well; failed and killed ones are to be done again."""
    record = store.read(config.fingerprint)
    return record if record is not None and record.status == "finished" else None


def open_tracker(uri: str | None, store: RunStore) -> MlflowTracker | None:
    """Open the MLflow store that runs go to, or warn and give None where it does not answer.

    Raises:
        ConfigError: if the URI is malformed.
    """
    from nlbench.tracking import MlflowTracker

    try:
        return MlflowTracker.open(uri, store.home)
    except RunError as error:
        log.warning("%s The runs go on without it.", error)
        return None


def run_config(
    config: RunConfig,
    store: RunStore,
    device: torch.device,
    tracker: MlflowTracker | None,
    data_dir: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
    force: bool = False,
    deterministic: bool = False,
) -> RunRecord:
    """Run one configuration and record it, finished or failed.

    What another process finished in the meantime is not done again, unless forced.

    Raises:
        NlbenchError: if the run failed; where it got as far as the selector, the failed record
            is in the store.
    """
    with store.claim(config.fingerprint) as claim:
        finished = None if force else finished_record(store, config)
        if finished is not None:
            return finished
        started_at, log_run = now(), RunLog(tracker, store, claim)
        cache = EmbeddingCache(cache_dir(store.home))
        attempt = Attempt(config, device, data_dir, progress, cache, deterministic)
        attempt.prepare()
        under_way = make_record(attempt, "running", started_at, claim.attempt)
        store.write_started(under_way)
        log_run.begin(under_way)
        try:
            with (
                suitable_threads(device, attempt.n_pixels),
                deterministic_algorithms(device, deterministic),
            ):
                attempt.select()
                attempt.train()
            metrics = attempt.metrics()
            record = make_record(attempt, "finished", started_at, claim.attempt, metrics=metrics)
            write_selection(claim.folder, attempt)
            write_predictions(claim.folder, attempt)
            write_gallery(claim.folder, attempt)
        except (Exception, SystemExit) as error:
            failure = error_info(error)
            record = make_record(attempt, "failed", started_at, claim.attempt, error=failure)
            store.write(record)
            log_run.finish(record)
            raise _as_nlbench_error(error, config) from error
        store.write(record)
        log_run.finish(record)
        return record


def _as_nlbench_error(error: BaseException, config: RunConfig) -> NlbenchError:
    if isinstance(error, NlbenchError):
        return error
    frames = traceback.extract_tb(error.__traceback__)
    own = registry.find("selectors", config.selector.name).path
    # The plugin's own line helps its author more than the library's that it called.
    last = next((f for f in reversed(frames) if Path(f.filename) == own), frames[-1])
    return RunError(
        f"{config.selector.name} failed: {type(error).__name__}: {error} "
        f"(at {Path(last.filename).name}:{last.lineno}). The traceback is in the record: "
        f"`nlbench show run {config.fingerprint[:12]}`."
    )
