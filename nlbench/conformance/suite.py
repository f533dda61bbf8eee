"""The list of checks and how a selector is held to it."""

from __future__ import annotations

import inspect
import linecache
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from nlbench.conformance import answer_checks, batch_checks, behaviour_checks, class_checks
from nlbench.conformance.harness import ConformanceFailure
from nlbench.errors import ConfigError, did_you_mean
from nlbench.machine import suitable_threads
from nlbench.selector import AnySelector


class Check(Protocol):
    """A function that raises `ConformanceFailure`; its docstring states the rule."""

    __name__: str

    def __call__(self, selector_class: type[AnySelector], /) -> None:
        """Hold the class to the check."""


@dataclass(frozen=True)
class CheckResult:
    """How one check went.

    Attributes:
        name: The check's function name, which `conformance_exempt` refers to.
        status: ``"exempt"`` is a failure that the selector announced, with its reason.
        message: Why it failed or is exempt; empty when passed.
        seconds: Time it took.
    """

    name: str
    status: Literal["passed", "failed", "exempt"]
    message: str
    seconds: float


def check_exemptions(selector_class: type[AnySelector]) -> None:
    """Every exemption names a check and gives a reason."""
    names = [check.__name__ for check in CHECKS if check is not check_exemptions]
    if not isinstance(selector_class.conformance_exempt, Mapping):
        raise ConformanceFailure(
            "`conformance_exempt` must be a mapping from a check's name to the reason, got "
            f"{selector_class.conformance_exempt!r}."
        )
    for name, reason in selector_class.conformance_exempt.items():
        if name not in names:
            raise ConformanceFailure(
                f"`conformance_exempt` must name checks, got {name!r}. {did_you_mean(name, names)}"
            )
        if not isinstance(reason, str) or not reason.strip():
            raise ConformanceFailure(
                f"`conformance_exempt` must give a reason for each check, {name!r} has {reason!r}."
            )


CHECKS: tuple[Check, ...] = (
    class_checks.check_is_dataclass,
    class_checks.check_fields_are_annotated,
    class_checks.check_default_constructible,
    class_checks.check_repr_round_trip,
    class_checks.check_unknown_hyper_parameter,
    class_checks.check_wrong_type,
    class_checks.check_knowledge_names,
    check_exemptions,
    answer_checks.check_answer,
    answer_checks.check_device,
    answer_checks.check_ranks_all_samples,
    answer_checks.check_diagnostics_are_json,
    answer_checks.check_inputs_untouched,
    answer_checks.check_same_seed_same_answer,
    answer_checks.check_global_random_state,
    answer_checks.check_declares_knowledge,
    answer_checks.check_cannot_reach_clean_labels,
    answer_checks.check_does_not_peek,
    behaviour_checks.check_permuted_samples,
    behaviour_checks.check_relabelled_classes,
    behaviour_checks.check_absent_class,
    behaviour_checks.check_one_sample_class,
    behaviour_checks.check_two_classes,
    behaviour_checks.check_random_labels,
    behaviour_checks.check_identical_embeddings,
    behaviour_checks.check_constant_scores,
    behaviour_checks.check_planted_noise_is_found,
    behaviour_checks.check_keeps_clean_samples,
    batch_checks.check_batch_permutation,
    batch_checks.check_batch_same_answer,
    batch_checks.check_batch_absent_class,
    batch_checks.check_batch_of_one_class,
    batch_checks.check_batch_of_equal_losses,
    batch_checks.check_batch_inputs_untouched,
)


def check_selector(
    selector_class: type[AnySelector],
    name: str | None = None,
    only: Sequence[str] | None = None,
) -> list[CheckResult]:
    """Hold a selector to the checks, all of them in order unless `only` names some.

    A check that the class is exempt from is run as well: an exemption that is not needed fails.

    Args:
        selector_class: The class, tried with its default hyper-parameters.
        name: What the selector is called in messages; the class's name if left out.
        only: Names of checks.

    Returns:
        One result per check; this function does not raise for what the selector does.

    Raises:
        ConfigError: if `only` names a check that does not exist.
    """
    label = name or selector_class.__name__
    with suitable_threads(torch.device("cpu"), n_values=0):
        return [_run(check, selector_class, label) for check in _checks_named(only)]


def _checks_named(only: Sequence[str] | None) -> list[Check]:
    checks = {check.__name__: check for check in CHECKS}
    for name in only or ():
        if name not in checks:
            raise ConfigError(f"unknown check {name!r}. {did_you_mean(name, checks)}")
    return [check for check in CHECKS if only is None or check.__name__ in only]


def _run(check: Check, selector_class: type[AnySelector], label: str) -> CheckResult:
    name, start = check.__name__, time.perf_counter()
    exempt = getattr(selector_class, "conformance_exempt", None)
    reason = None
    # Nobody may be exempt from having their exemptions looked at.
    if isinstance(exempt, Mapping) and name != check_exemptions.__name__:
        reason = exempt.get(name)
    problem = _problem(check, selector_class)
    seconds = time.perf_counter() - start
    if reason is None:
        message = f"{label}: {problem}" if problem else ""
        return CheckResult(name, "failed" if problem else "passed", message, seconds)
    if problem:
        return CheckResult(name, "exempt", reason, seconds)
    message = f"{label}: {name} is exempt ({reason!r}) but passes: remove the exemption."
    return CheckResult(name, "failed", message, seconds)


def _problem(check: Check, selector_class: type[AnySelector]) -> str | None:
    try:
        check(selector_class)
    except ConformanceFailure as failure:
        return str(failure)
    except Exception as error:
        rule = (check.__doc__ or "").split("\n", 1)[0]
        return f"{rule} Got {type(error).__name__}: {error}{_where(error, selector_class)}"
    return None


def _where(error: Exception, selector_class: type[AnySelector]) -> str:
    """Return the last line of the traceback that lies in the plugin's file."""
    try:
        file = inspect.getfile(selector_class)
    except (OSError, TypeError):
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    if not frames:
        return ""
    line = frames[-1].lineno or 0
    return f" ({file}:{line}, `{linecache.getline(file, line).strip()}`)"
