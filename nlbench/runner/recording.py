"""The record of a run: as it begins, as it fails, as it ends."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from nlbench.config.code_versions import loose_files
from nlbench.config.command import reproduce_command
from nlbench.config.run_config import PROTOCOL_VERSION, RunConfig
from nlbench.data.image_data import ImageData
from nlbench.errors import DivergedError, PluginError, text_of
from nlbench.files import readable, require_bounded
from nlbench.machine import describe_environment, device_name
from nlbench.noise.corrupt import NoisyLabels
from nlbench.plugins import registry
from nlbench.results.metrics import score_histogram
from nlbench.results.record import (
    DatasetInfo,
    ErrorInfo,
    Metrics,
    NoiseInfo,
    ProtocolInfo,
    RunRecord,
    SelectorInfo,
    TrainerInfo,
)
from nlbench.runner.attempt import Attempt, now
from nlbench.runner.inputs import Inputs
from nlbench.runner.steps import Choice, Result
from nlbench.runner.workplace import Workplace


def running_record(attempt: Attempt, inputs: Inputs) -> RunRecord:
    """Return the record of a run that has its inputs and is about to select."""
    return RunRecord(
        **_identity(attempt, inputs), status="running", times=attempt.times(data_s=inputs.read_s)
    )


def failed_record(attempt: Attempt, inputs: Inputs, error: BaseException) -> RunRecord:
    """Return the record of a run that raised an error; a training that diverged has curves."""
    return RunRecord(
        **_identity(attempt, inputs),
        status="failed",
        times=attempt.times(data_s=inputs.read_s),
        curves=dict(error.curves) if isinstance(error, DivergedError) else {},
        error=error_info(error),
        finished_at=now(),
    )


def finished_record(
    attempt: Attempt, inputs: Inputs, choice: Choice, result: Result, metrics: Metrics
) -> RunRecord:
    """Return the record of a run that ended well.

    Raises:
        PluginError: if the selector's diagnostics cannot be written as JSON.
    """
    truth = inputs.clean_labels
    is_clean = None if truth is None else inputs.noisy_labels(inputs.fit) == truth
    return RunRecord(
        **_identity(attempt, inputs),
        status="finished",
        metrics=metrics,
        curves=result.curves,
        score_histogram=score_histogram(result.selection.score, is_clean),
        diagnostics=_diagnostics(choice, result),
        warnings=[readable(text) for text in choice.bank.warnings],
        times=attempt.times(**result.times),
        finished_at=now(),
    )


def _identity(attempt: Attempt, inputs: Inputs) -> dict[str, Any]:
    """Return what the record says of a run from its beginning."""
    config, place = inputs.config, inputs.workplace
    return {
        "fingerprint": config.fingerprint,
        "method": config.method,
        "selector": _selector_info(config),
        "trainer": _trainer_info(config),
        "dataset": _dataset_info(inputs.data),
        "noise": _noise_info(inputs.noisy, config),
        "seed": config.seed,
        "versions": config.versions,
        "protocol": _protocol_info(config, n_val=len(inputs.val)),
        "environment": _environment(place),
        "config": config.canonical(),
        "command": reproduce_command(config, _plugin_paths(config), place.data_dir),
        "attempt": attempt.number,
        "resumed": attempt.n_resumed,
        "started_at": attempt.started_at,
    }


def as_configured(
    record: RunRecord, config: RunConfig, place: Workplace, attempt: int
) -> RunRecord:
    """Return a record that was made elsewhere, with its files named as they are named here.

    Args:
        record: Made from a copy of `config` whose files lie where the run took place.
        config: What was asked for here.
        place: Here.
        attempt: Of the tries at this fingerprint, as they are counted here.
    """
    return record.model_copy(
        update={
            "selector": _selector_info(config),
            "trainer": _trainer_info(config),
            "command": reproduce_command(config, _plugin_paths(config), place.data_dir),
            "attempt": attempt,
        }
    )


def _environment(place: Workplace) -> dict[str, Any]:
    repeatable = place.deterministic or place.device.type == "cpu"
    name = device_name(place.device)
    if place.ranks is None:
        return describe_environment(name, repeatable)
    n = place.ranks.n
    return {**describe_environment(f"{name}; {n} devices", repeatable), "devices": n}


def _diagnostics(choice: Choice, result: Result) -> dict[str, Any]:
    diagnostics = dict(result.selection.diagnostics)
    try:
        require_bounded(diagnostics)
        json.dumps(diagnostics, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PluginError(
            "Selection.diagnostics must be JSON: text, whole numbers of 64 bits, finite floats, "
            f"lists and dicts of these; {text_of(error)}. Convert what is not."
        ) from None
    training = result.training
    facts: dict[str, Any] = {"n_steps": training.n_steps, "precision": training.precision}
    if training.n_rounds > 1:
        facts["n_rounds"] = training.n_rounds
    if choice.view.estimates_used:
        facts["estimated_noise_rate"] = choice.view.rate("estimated")
    return {**facts, **diagnostics}


def _selector_info(config: RunConfig) -> SelectorInfo:
    selector = registry.get_selector(config.selector.name, **config.selector.params)
    return SelectorInfo(
        name=config.selector.name,
        params=config.selector.params,
        variant=config.selector_variant,
        knowledge=list(selector.knowledge_used()),
        is_bound=selector.is_bound,
        # What a method has to beat is the plain training: everything, with the standard trainer.
        is_reference=selector.is_reference and config.method == config.selector.name,
        deviation=selector.deviation,
    )


def _trainer_info(config: RunConfig) -> TrainerInfo:
    trainer = registry.find("trainers", config.trainer.name).load()
    return TrainerInfo(
        name=config.trainer.name,
        params=config.trainer.params,
        variant=config.trainer_variant,
        deviation=trainer.deviation,
    )


def _protocol_info(config: RunConfig, n_val: int) -> ProtocolInfo:
    return ProtocolInfo(
        id=config.protocol_id,
        sha256=config.protocol_sha256,
        version=PROTOCOL_VERSION,
        settings={**config.protocol_settings, "n_val": n_val},
    )


def _dataset_info(data: ImageData) -> DatasetInfo:
    return DatasetInfo(
        name=data.name,
        fingerprint=data.fingerprint,
        n_train=len(data.train_labels),
        n_test=len(data.test_labels),
        n_classes=data.n_classes,
        n_unreadable=len(data.unreadable),
        class_names=list(data.class_names),
        split=data.split,
        passed_over=dict(data.passed_over),
        copies=dict(data.copies),
        warnings=list(data.warnings),
        test_labels_are_clean=data.test_labels_are_clean,
    )


def _noise_info(noisy: NoisyLabels, config: RunConfig) -> NoiseInfo:
    return NoiseInfo(
        kind=noisy.kind,
        nominal_rate=noisy.nominal_rate,
        realized_rate=noisy.realized_rate,
        sha256=noisy.sha256,
        params=config.canonical()["noise"]["options"],
        transition_matrix=noisy.transition_matrix.tolist(),
        realized_rate_per_class=np.nan_to_num(noisy.realized_rate_per_class).tolist(),
    )


def error_info(error: BaseException) -> ErrorInfo:
    """Return an exception as it stands in a record, the home directory shortened."""
    text = _traceback_of(error)
    short = text.replace(str(Path.home()), "~")[-8000:]
    return ErrorInfo(type=type(error).__name__, message=text_of(error), traceback=short)


def _traceback_of(error: BaseException) -> str:
    try:
        # Each part alone is cut: the text of an error may be larger than its way here.
        return readable("".join(part[:8000] for part in traceback.format_exception(error)))
    except BaseException as second:
        return f"(the traceback cannot be shown: {type(second).__name__})"


def _plugin_paths(config: RunConfig) -> list[str]:
    """Return the loose files that the run uses, below the working directory where they are."""
    here = Path.cwd()
    return [
        str(path.relative_to(here) if path.is_relative_to(here) else path)
        for path in loose_files(config)
    ]
