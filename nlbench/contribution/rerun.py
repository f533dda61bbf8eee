"""Repeating recorded runs on this machine, and judging what comes out."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nlbench.contribution.at_hand import config_here
from nlbench.contribution.comparison import Difference, first_epoch, result_differences
from nlbench.contribution.origin import NotAtHandError
from nlbench.contribution.tolerance import Tolerance, tolerance_for
from nlbench.errors import DataError, NlbenchError
from nlbench.results.record import RunRecord

if TYPE_CHECKING:
    import torch

    from nlbench.config.run_config import RunConfig

Progress = Callable[[str, int, int], None]

_SHOWN = 6


@dataclass(frozen=True)
class Rerun:
    """What became of one run that was repeated here.

    Attributes:
        stated: The record that was checked.
        outcome: ``equal``: every metric, curve and histogram; ``within rounding``: as far as the
            tolerance goes; ``not repeated``: something is missing here.
        details: What differs, or what is missing.
        tolerance: The one that was applied; None where nothing was run.
        repeated: The record made here.
    """

    stated: RunRecord
    outcome: Literal["equal", "within rounding", "differs", "not repeated"]
    details: tuple[str, ...] = ()
    tolerance: Tolerance | None = None
    repeated: RunRecord | None = field(default=None, repr=False)


def draw_runs(records: Sequence[RunRecord], n: int, seed: int) -> list[RunRecord]:
    """Return `n` finished runs, drawn by the seed; all of them where there are no more.

    The draw depends on which runs there are, not on their order.
    """
    finished = {r.fingerprint: r for r in records if r.status == "finished"}
    names = sorted(finished)
    rng = random.Random(seed)  # noqa: S311 - a sample of runs, nothing secret
    return [finished[name] for name in rng.sample(names, min(n, len(names)))]


def rerun(
    stated: RunRecord,
    data_dir: Path | None = None,
    places: Mapping[str, Any] | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Rerun:
    """Repeat a run in a temporary home, without MLflow, and compare the results.

    Args:
        stated: A finished run whose record does not contradict itself.
        data_dir: Folder that contains the data sets.
        places: Where files of the run are here, by setting.
        progress: Called with (stage, done, total).
    """
    try:
        config = config_here(stated, data_dir, places or {})
        repeated = _repeated(config, stated, data_dir, progress)
    except NotAtHandError as reason:
        return Rerun(stated, "not repeated", (str(reason),))
    except DataError as error:  # weights or data that turned out to be missing
        return Rerun(stated, "not repeated", (str(error),))
    except NlbenchError as error:
        return Rerun(stated, "differs", (f"it fails here: {error}",))
    return judged(stated, repeated)


def judged(stated: RunRecord, repeated: RunRecord) -> Rerun:
    """Return how a repeated run compares with the record of it."""
    tolerance = tolerance_for(stated, repeated)
    differences = result_differences(stated, repeated)
    if not differences:
        return Rerun(stated, "equal", (), tolerance, repeated)
    beyond = list(_beyond(differences, tolerance))
    shown = [_text(d) for d in beyond or _judged(differences, tolerance)]
    more = [f"and {len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
    epoch = first_epoch(differences)
    parting = [] if epoch is None else [f"the curves part at epoch {epoch}"]
    details = (*shown[:_SHOWN], *more, *parting)
    return Rerun(stated, "differs" if beyond else "within rounding", details, tolerance, repeated)


def _repeated(
    config: RunConfig, stated: RunRecord, data_dir: Path | None, progress: Progress
) -> RunRecord:
    from nlbench.results.store import RunStore
    from nlbench.runner.run import run_config
    from nlbench.runner.workplace import Workplace

    with tempfile.TemporaryDirectory(prefix="nlbench-rerun-") as home:
        place = Workplace(
            store=RunStore(Path(home)), device=_device_of(stated), data_dir=data_dir,
            deterministic=bool(stated.environment.get("deterministic")),
        )  # fmt: skip
        return run_config(config, place, progress)


def _device_of(stated: RunRecord) -> torch.device:
    """Return the kind of device that the run was made on, where it is here, else the CPU."""
    import torch

    name = str(stated.environment.get("device", "cpu"))
    if name.startswith("cpu"):
        return torch.device("cpu")
    if name.startswith("mps"):
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _beyond(differences: Sequence[Difference], tolerance: Tolerance) -> Iterator[Difference]:
    """Return what no rounding explains."""
    for difference in differences:
        if not tolerance.limits or difference.part in ("status", "noise"):
            yield difference
    for difference in _judged(differences, tolerance):
        limit = tolerance.limit_of(difference.name)
        if limit is not None and (difference.delta is None or abs(difference.delta) > limit):
            yield difference


def _judged(differences: Sequence[Difference], tolerance: Tolerance) -> Iterator[Difference]:
    """Return the metrics that a tolerance applies to."""
    for difference in differences:
        if difference.part == "metrics" and tolerance.limit_of(difference.name) is not None:
            yield difference


def _text(difference: Difference) -> str:
    at = "" if difference.epoch is None else f" at epoch {difference.epoch}"
    by = "" if difference.delta is None else f" ({difference.delta:+.3g})"
    name = (
        f"{difference.part}: {difference.name}"
        if difference.part != "metrics"
        else (difference.name)
    )
    return f"{name}{at} is {_short(difference.first)}, here {_short(difference.second)}{by}"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
