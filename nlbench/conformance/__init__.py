"""Checks that every component must pass: `nlbench check`, our tests, yours; no results are judged.

In a plugin's tests, one line gives a test for each check::

    from nlbench.conformance import selector_checks

    test_my_idea = selector_checks(MyIdea)

`trainer_checks`, `noise_checks`, `dataset_checks` and `encoder_checks` do the same. Without pytest,
`check_selector` and its like return a result for each check.

A check that cannot hold for a method is named in the class, with the reason::

    conformance_exempt = {"check_planted_noise_is_found": "keeps everything"}
"""

from __future__ import annotations

from nlbench.conformance.by_kind import (
    CHECKS_BY_KIND,
    check_component,
    check_dataset,
    check_encoder,
    check_noise,
    check_trainer,
)
from nlbench.conformance.harness import ConformanceFailure
from nlbench.conformance.planted import Plan, planted_clean_labels, planted_data
from nlbench.conformance.planted_training import planted_dynamics
from nlbench.conformance.pytest_checks import (
    dataset_checks,
    encoder_checks,
    noise_checks,
    selector_checks,
    trainer_checks,
)
from nlbench.conformance.reach import path_to_labels
from nlbench.conformance.results import Check, CheckResult
from nlbench.conformance.suite import CHECKS, check_selector

__all__ = [
    "CHECKS",
    "CHECKS_BY_KIND",
    "Check",
    "CheckResult",
    "ConformanceFailure",
    "Plan",
    "check_component",
    "check_dataset",
    "check_encoder",
    "check_noise",
    "check_selector",
    "check_trainer",
    "dataset_checks",
    "encoder_checks",
    "noise_checks",
    "path_to_labels",
    "planted_clean_labels",
    "planted_data",
    "planted_dynamics",
    "selector_checks",
    "trainer_checks",
]
