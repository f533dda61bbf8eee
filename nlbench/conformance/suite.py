"""The checks of selectors, and how a selector is held to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nlbench.conformance import (
    answer_checks,
    batch_checks,
    behaviour_checks,
    class_checks,
    resume_checks,
    worker_check,
)
from nlbench.conformance.harness import ConformanceFailure
from nlbench.conformance.results import Check, CheckResult, Subject, python_lines, run_checks
from nlbench.errors import did_you_mean
from nlbench.selector import AnySelector, BatchSelector


def check_exemptions(selector_class: type[AnySelector]) -> None:
    """Every exemption names a check and gives a reason.

    An exemption without a reason hides a failure from everyone who reads the class.
    """
    checks = checks_for(selector_class)
    names = [check.__name__ for check in checks if check is not check_exemptions]
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
    class_checks.check_declarations,
    check_exemptions,
    answer_checks.check_answer,
    answer_checks.check_device,
    answer_checks.check_ranks_all_samples,
    answer_checks.check_diagnostics_are_json,
    answer_checks.check_inputs_untouched,
    answer_checks.check_same_seed_same_answer,
    answer_checks.check_global_random_state,
    answer_checks.check_surroundings,
    answer_checks.check_encoders_exist,
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
    resume_checks.check_resumed_in_mid_training,
    worker_check.check_worker_process,
)


def checks_for(selector_class: type[AnySelector]) -> tuple[Check, ...]:
    """Return the checks of a selector: more for those that choose inside mini-batches."""
    if isinstance(selector_class, type) and issubclass(selector_class, BatchSelector):
        return (*CHECKS, *batch_checks.BATCH_CHECKS)
    return CHECKS


def check_selector(
    selector_class: type[AnySelector],
    name: str | None = None,
    only: Sequence[str] | None = None,
    reproduce: Callable[[str], str] | None = None,
) -> list[CheckResult]:
    """Hold a selector to the checks, all of them in order unless `only` names some.

    A check that the class is exempt from is run as well: an exemption that is not needed fails.

    Args:
        selector_class: The class, tried with its default hyper-parameters.
        name: What the selector is called in messages; the class's name if left out.
        only: Names of checks; ``check_`` may be left out.
        reproduce: From a check's name to the shortest way to see it again; lines of Python that
            import the class where left out.

    Returns:
        One result per check; this function does not raise for what the selector does.

    Raises:
        ConfigError: if `only` names a check that does not exist.
    """
    exempt = getattr(selector_class, "conformance_exempt", None)
    exempt = dict(exempt) if isinstance(exempt, Mapping) else {}
    # Nobody may be exempt from having their exemptions looked at.
    exempt.pop(check_exemptions.__name__, None)
    subject = Subject(
        value=selector_class,
        label=name or selector_class.__name__,
        reproduce=reproduce or (lambda check: _lines(selector_class, check)),
        source=selector_class,
        exempt=exempt,
    )
    return run_checks(checks_for(selector_class), subject, only)


def _lines(selector_class: type[AnySelector], check: str) -> str:
    home, name = selector_class.__module__, selector_class.__qualname__.partition(".")[0]
    return python_lines(
        f"from {home} import {name}",
        "from nlbench.conformance import check_selector",
        f"print(check_selector({selector_class.__qualname__}, only=[{check!r}])[0].report)",
    )
