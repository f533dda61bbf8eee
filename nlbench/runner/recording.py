"""From an attempt to its RunRecord."""

from __future__ import annotations

import json
import time
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nlbench.config.command import reproduce_command
from nlbench.config.run_config import PROTOCOL_VERSION, RunConfig
from nlbench.data.image_data import ImageData
from nlbench.errors import PluginError
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
    Times,
)
from nlbench.runner.steps import Attempt


def make_record(
    attempt: Attempt,
    status: Literal["running", "finished", "failed"],
    started_at: str,
    number: int,
    metrics: Metrics | None = None,
    error: ErrorInfo | None = None,
) -> RunRecord:
    """Return the record of what an attempt knows so far.

    Args:
        attempt: Prepared at least.
        status: How it stands.
        started_at: When it began.
        number: Which try at this fingerprint it is, from 1.
        metrics: Of a finished one.
        error: Of a failed one.
    """
    config = attempt.config
    elapsed = time.perf_counter() - attempt.started
    times = {**attempt.times, "total_s": elapsed, "peak_memory_mb": attempt.memory.mib()}
    return RunRecord(
        fingerprint=config.fingerprint,
        status=status,
        selector=_selector_info(config),
        dataset=_dataset_info(attempt.data),
        noise=_noise_info(attempt.noisy, config),
        seed=config.seed,
        versions=config.versions,
        protocol=_protocol_info(config, n_val=len(attempt.val)),
        metrics=metrics,
        times=Times(**times),
        environment=describe_environment(
            device_name(attempt.device), attempt.deterministic or attempt.device.type == "cpu"
        ),
        config=config.canonical(),
        command=reproduce_command(config, _plugin_path(config), attempt.data_dir),
        error=error,
        attempt=number,
        started_at=started_at,
        finished_at="" if status == "running" else now(),
        **({} if metrics is None else _details(attempt)),
    )


def _details(attempt: Attempt) -> dict[str, Any]:
    online = attempt.online.curves if attempt.online else {}
    truth = attempt.clean_labels
    is_clean = None if truth is None else attempt.noisy_labels == truth
    return {
        "curves": {**attempt.outcome.curves, **online, **attempt.relabelling.curves},
        "score_histogram": score_histogram(attempt.selection.score, is_clean),
        "diagnostics": {
            "n_steps": attempt.outcome.n_steps,
            "precision": attempt.outcome.precision,
            **_diagnostics(attempt),
        },
    }


def _diagnostics(attempt: Attempt) -> dict[str, Any]:
    found = dict(attempt.selection.diagnostics)
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PluginError(f"Selection.diagnostics must be JSON without NaN: {error}") from None
    return found


def _selector_info(config: RunConfig) -> SelectorInfo:
    selector = registry.get_selector(config.selector.name, **config.selector.params)
    return SelectorInfo(
        name=config.selector.name,
        params=config.selector.params,
        variant=config.selector_variant,
        knowledge=list(selector.knowledge_used()),
        is_bound=selector.is_bound,
        is_reference=selector.is_reference,
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
    text = "".join(traceback.format_exception(error))
    short = text.replace(str(Path.home()), "~")[-8000:]
    return ErrorInfo(type=type(error).__name__, message=str(error)[:2000], traceback=short)


def _plugin_path(config: RunConfig) -> str | None:
    component = registry.find("selectors", config.selector.name)
    if not component.is_loose or component.path is None:
        return None
    here = Path.cwd()
    inside = component.path.is_relative_to(here)
    return str(component.path.relative_to(here) if inside else component.path)


def now() -> str:
    """Return the time in UTC as ISO 8601 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
