"""Checks that every selector must pass: `nlbench check`, our tests, yours; no results are judged.

In a plugin's tests::

    from nlbench.conformance import check_selector

    def test_conformance():
        assert [r.message for r in check_selector(MySelector) if r.status == "failed"] == []

A check that cannot hold for a method is named in the class, with the reason::

    conformance_exempt = {"check_planted_noise_is_found": "keeps everything"}
"""

from __future__ import annotations

from nlbench.conformance.harness import ConformanceFailure
from nlbench.conformance.planted import Plan, planted_clean_labels, planted_data
from nlbench.conformance.planted_training import planted_dynamics
from nlbench.conformance.reach import path_to_labels
from nlbench.conformance.suite import CHECKS, Check, CheckResult, check_selector

__all__ = [
    "CHECKS",
    "Check",
    "CheckResult",
    "ConformanceFailure",
    "Plan",
    "check_selector",
    "path_to_labels",
    "planted_clean_labels",
    "planted_data",
    "planted_dynamics",
]
