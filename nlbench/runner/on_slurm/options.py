"""What a user may ask of Slurm, checked before anything is submitted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nlbench.errors import ConfigError

DEFAULT_TIME = "60"
"""Minutes; what takes longer goes on in the next job."""

SIGNAL_BEFORE_S = 120
"""How long before its time limit a job is told, so that it can write a checkpoint."""

_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d{1,2}))?(?::(\d{1,2}))?", re.ASCII)
_MEMORY = re.compile(r"[0-9]+[KMGT]?", re.IGNORECASE)
_KEY = re.compile(r"[a-z][a-z-]*")
_HAVE_OPTIONS = {
    "partition": "--slurm-partition",
    "time": "--slurm-time",
    "mem": "--slurm-memory",
    "gpus-per-node": "--slurm-gpus",
}
# submitit writes these, or a job would not be one cell.
_OURS = {"array", "error", "job-name", "nodes", "ntasks", "open-mode", "output", "wrap", "parsable"}


def parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return submitit's parameters of the jobs.

    Args:
        options: `partition`, `time`, `memory` as sbatch takes them, `gpus` a number, and `option`,
            lines of ``key=value`` or ``key``; those that were not given are missing.

    Raises:
        ConfigError: for an option that is not one of these, or a wrong value.
    """
    known = {"partition", "time", "memory", "gpus", "option"}
    unknown = set(options) - known
    if unknown:
        raise ConfigError(
            f"the Slurm executor has no option {min(unknown)!r}. It has {', '.join(sorted(known))}."
        )
    limit = minutes(options.get("time", DEFAULT_TIME))
    told_s = min(SIGNAL_BEFORE_S, limit * 30)  # not before half of a short limit
    asked: dict[str, Any] = {"time": limit, "signal_delay_s": told_s, "cpus_per_task": 1}
    if "partition" in options:
        asked["partition"] = _one_word("--slurm-partition", options["partition"])
    if "memory" in options:
        asked["mem"] = _memory(options["memory"])
    if options.get("gpus"):
        asked["gpus_per_node"] = options["gpus"]
    more = free_options(options.get("option", ()))
    for key, name in (("cpus-per-task", "cpus_per_task"), ("signal-delay-s", "signal_delay_s")):
        if key in more:
            asked[name] = _positive(key, more.pop(key))
    return {**asked, "additional_parameters": more}


def minutes(text: str) -> int:
    """Return a time limit in whole minutes, rounded up, from any of sbatch's ways to write it.

    Raises:
        ConfigError: if it is none of them, or no time at all.

    >>> minutes("90"), minutes("90:30"), minutes("2:00:00"), minutes("1-12"), minutes("1-0:30")
    (90, 91, 120, 2160, 1470)
    """
    found = _TIME.fullmatch(text.strip())
    if found:
        days, first, second, third = (int(part or 0) for part in found.groups())
        if found[1] is not None:
            seconds = ((days * 24 + first) * 60 + second) * 60 + third
        elif found[4] is not None:
            seconds = (first * 60 + second) * 60 + third
        else:
            seconds = first * 60 + second
        if seconds:
            return -(-seconds // 60)
    raise ConfigError(
        "--slurm-time must be minutes, minutes:seconds, hours:minutes:seconds, days-hours or "
        f"days-hours:minutes, more than 0, got {text!r}."
    )


def free_options(lines: Sequence[str]) -> dict[str, Any]:
    """Return options of sbatch by their long names; those without a value are True.

    Raises:
        ConfigError: if a name is no long option, has an option of its own, or is not the user's.

    >>> free_options(["account=vision", "exclusive"])
    {'account': 'vision', 'exclusive': True}
    """
    asked: dict[str, Any] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        key = key.strip().removeprefix("--").replace("_", "-")
        if not _KEY.fullmatch(key):
            raise ConfigError(
                "--slurm-option must be key=value with a long option of sbatch, such as "
                f"account=vision, got {line!r}."
            )
        if key in _HAVE_OPTIONS:
            raise ConfigError(f"--slurm-option {key}: give it as {_HAVE_OPTIONS[key]}.")
        if key in _OURS:
            raise ConfigError(f"--slurm-option {key}: the sweep sets it itself; leave it out.")
        asked[key] = _one_word(f"--slurm-option {key}", value) if equals else True
    return asked


def _one_word(what: str, value: str) -> str:
    # sbatch reads it as a line of a script.
    if not value or not value.isprintable():
        raise ConfigError(f"{what} must be one line of text, got {value!r}.")
    return value


def _memory(text: str) -> str:
    if not _MEMORY.fullmatch(text) or not int(text.rstrip("KMGTkmgt")):
        raise ConfigError(f"--slurm-memory must be like 16G or 800M, more than 0, got {text!r}.")
    # submitit counts in whole gigabytes or in sbatch's own words.
    return text.upper()


def _positive(key: str, text: Any) -> int:
    if not isinstance(text, str) or not re.fullmatch("[0-9]+", text) or not int(text):
        raise ConfigError(f"--slurm-option {key} must be a whole number > 0, got {text!r}.")
    return int(text)
