"""What the lock guards: every built-in component that keeps a version, and the toolboxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from golden import (
    encoder_problems,
    noise_problems,
    scoring_problems,
    selector_problems,
    source_problems,
    trainer_problems,
    training_problems,
)
from golden.answer_files import Answer, Stored, differences, load, path_of, plain, shown

from nlbench import scoring, training
from nlbench.plugins import registry
from nlbench.plugins.discovery import KINDS, Component
from nlbench.plugins.versions import uses_scoring, version_of

COMMAND = "python tests/golden/update.py"
_PROBLEMS = {
    "selectors": selector_problems,
    "datasets": source_problems,
    "noises": noise_problems,
    "trainers": trainer_problems,
    "encoders": encoder_problems,
}


@dataclass(frozen=True)
class Entry:
    """One thing that the lock guards.

    Attributes:
        name: Such as ``selectors/clipcleaner``.
        subject: What to call it in messages.
        versions: Its own version first, then those of the toolboxes that it uses.
    """

    name: str
    subject: str
    versions: dict[str, int]
    compute: Callable[[], Answer]
    tolerance: float
    tolerances: Mapping[str, float]

    def answer(self) -> Answer:
        """Solve the problem."""
        solved: Answer = plain(self.compute())
        return solved

    def verdict(self, answer: Answer) -> str:
        """Return what is wrong with an answer, or nothing."""
        stored = load(self.name)
        if stored is None:
            return f"no golden answer for {self.subject}: run `{COMMAND} {self.name}`"
        lower = [part for part in stored.versions if self._now(part) < stored.versions[part]]
        if lower:
            return (
                f"the version of {self.subject} was lowered: {stored.versions} is stored, "
                f"{self.versions} is installed. A version is only ever raised."
            )
        known = {case: facts for case, facts in answer.items() if case in stored.answer}
        changes = differences(stored.answer, known, self.tolerances, self.tolerance)
        if stored.versions != self.versions:
            return self._renew(stored)
        if changes:
            return (
                f"raise the version of {self.subject} or restore its numbers\n"
                f"What changed: {shown(changes)}."
            )
        if known != answer:
            return (
                f"{self.subject} has new cases, such as a setting that was added: "
                f"run `{COMMAND} {self.name}`"
            )
        return ""

    def may_be_renewed(self, answer: Answer) -> bool:
        """Return whether its answer may be replaced: no number changed, or a version was raised."""
        stored = load(self.name)
        if stored is None or "has new cases" in self.verdict(answer):
            return True
        raised = stored.versions != self.versions
        return raised and all(self._now(part) >= v for part, v in stored.versions.items())

    def _now(self, part: str) -> int:
        # A toolbox that is not used any more is no step back.
        return self.versions.get(part, 1 << 30)

    def _renew(self, stored: Stored) -> str:
        return (
            f"a version of {self.subject} was raised from {stored.versions} to {self.versions}: "
            f"renew its golden answer with `{COMMAND} {self.name}`"
        )


def entries() -> dict[str, Entry]:
    """Return all entries by name, from the registry."""
    every = [
        _of_component(component)
        for kind in KINDS
        for component in registry.components(kind).values()
        if component.is_shipped and component.keeps_version
    ]
    every += [
        Entry(
            "toolbox/scoring",
            "the scoring toolbox (nlbench.scoring.VERSION)",
            {"scoring": scoring.VERSION},
            scoring_problems.answers,
            scoring_problems.TOLERANCE,
            scoring_problems.TOLERANCES,
        ),
        Entry(
            "toolbox/training",
            "the training toolbox (nlbench.training.VERSION)",
            {"training": training.VERSION},
            training_problems.answers,
            training_problems.TOLERANCE,
            training_problems.TOLERANCES,
        ),
    ]
    return {entry.name: entry for entry in every}


def _of_component(component: Component) -> Entry:
    problems = _PROBLEMS[component.kind]
    what = component.kind[:-1]
    versions = {what: int(version_of(component))}
    if component.kind == "selectors" and uses_scoring(component):
        versions["scoring"] = scoring.VERSION
    if component.kind == "trainers":
        versions["training"] = training.VERSION
    return Entry(
        f"{component.kind}/{component.name}",
        f"{what} {component.name!r}",
        versions,
        lambda: problems.answers(component),  # type: ignore[attr-defined]
        getattr(problems, "OF_COMPONENT", {}).get(component.name, problems.TOLERANCE),  # type: ignore[attr-defined]
        problems.TOLERANCES,  # type: ignore[attr-defined]
    )


def orphan_message(name: str) -> str:
    return f"golden answer for {name}, which is no built-in component: delete {path_of(name)}"
