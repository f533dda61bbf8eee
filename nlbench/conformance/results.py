"""How a check is run, whatever it checks, and what is said of it."""

from __future__ import annotations

import inspect
import linecache
import textwrap
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import torch

from nlbench.conformance.harness import ConformanceFailure
from nlbench.errors import ConfigError, DataError, did_you_mean, text_of
from nlbench.machine import suitable_threads
from nlbench.surroundings import watched

Status = Literal["passed", "failed", "exempt", "unchecked"]
_PREFIX = "check_"
CheckT = TypeVar("CheckT", bound="Check")


class Check(Protocol):
    """A function that raises `ConformanceFailure`.

    Its docstring's first line states the rule, the next paragraph why it matters.
    """

    __name__: str

    def __call__(self, subject: Any, /) -> None:
        """Hold a component to the check."""


@dataclass(frozen=True)
class CheckResult:
    """How one check went.

    Attributes:
        name: The check's function name, which `conformance_exempt` refers to.
        status: ``"exempt"`` is a failure that the component announced, with its reason;
            ``"unchecked"`` is neither passed nor failed: what it needs is not on this machine.
        message: What came out and how to repair it, why it is exempt, or what is missing; empty
            when passed.
        seconds: Time it took.
        tried: The rule that was tried.
        why: Why the rule matters.
        reproduce: The shortest way to see it again: a command, or lines of Python.
    """

    name: str
    status: Status
    message: str
    seconds: float
    tried: str = ""
    why: str = ""
    reproduce: str = ""

    @property
    def report(self) -> str:
        """What was tried, what came out, why it matters, and how to see it again."""
        return "\n".join(f"{name}: {text}" for name, text in self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Return the same as pairs of a heading and its text; of a failure all four."""
        if self.status != "failed":
            return [("because", self.message)] if self.message else []
        return [
            ("tried", self.tried),
            ("came out", self.message),
            ("matters", self.why),
            ("reproduce", self.reproduce),
        ]


@dataclass(frozen=True)
class Subject:
    """What is checked, and how it is called.

    Attributes:
        value: What the checks are called with.
        label: What it is called in messages.
        reproduce: From a check's name to the shortest way to see it again.
        source: The class or function whose file is the author's.
        exempt: From a check's name to the reason why it cannot pass.
    """

    value: Any
    label: str
    reproduce: Callable[[str], str]
    source: Any
    exempt: Mapping[str, str]


def run_checks(
    checks: Sequence[Check], subject: Subject, only: Iterable[str] | None
) -> list[CheckResult]:
    """Hold a component to its checks, in the order of the list.

    Raises:
        ConfigError: if `only` names a check that does not exist.
    """
    with suitable_threads(torch.device("cpu"), n_values=0):
        return [_run(check, subject) for check in named_checks(checks, only)]


def named_checks(checks: Sequence[CheckT], only: Iterable[str] | None) -> list[CheckT]:
    """Return the checks of these names, all where none is named; ``check_`` may be left out.

    Raises:
        ConfigError: naming near matches, at the first name that is not one.
    """
    if only is None:
        return list(checks)
    names = {check.__name__: check for check in checks}
    asked = {_full_name(name) for name in only}
    for name in asked:
        if name not in names:
            raise ConfigError(f"unknown check {name!r}. {did_you_mean(name, names)}")
    return [check for check in checks if check.__name__ in asked]


def short_name(name: str) -> str:
    """Return a check's name as people type it.

    >>> short_name("check_two_classes")
    'two-classes'
    """
    return name.removeprefix(_PREFIX).replace("_", "-")


def _full_name(name: str) -> str:
    plain = name.strip().replace("-", "_").replace(" ", "_")
    return plain if plain.startswith(_PREFIX) else f"{_PREFIX}{plain}"


def rule_and_reason(check: Check) -> tuple[str, str]:
    """Return the two paragraphs of a check's docstring, each in one line."""
    paragraphs = inspect.cleandoc(check.__doc__ or "").split("\n\n")
    one_line = [" ".join(paragraph.split()) for paragraph in paragraphs]
    return one_line[0], one_line[1] if len(one_line) > 1 else ""


def python_lines(*lines: str) -> str:
    """Return lines that can be pasted into Python."""
    return textwrap.dedent("\n".join(lines))


def _run(check: Check, subject: Subject) -> CheckResult:
    name, start = check.__name__, time.perf_counter()
    tried, why = rule_and_reason(check)
    missing = ""
    try:
        with watched():  # what one check leaves behind is not the next one's
            problem = _problem(check, subject)
    except DataError as error:
        problem, missing = None, f"cannot be checked here: {error}"
    seconds = time.perf_counter() - start
    reason = subject.exempt.get(name)
    status: Status = "failed" if problem else "passed"
    message = f"{subject.label}: {problem}" if problem else ""
    if missing:
        status, message = "unchecked", missing
    elif reason is not None and problem:
        status, message = "exempt", reason
    elif reason is not None:
        status = "failed"
        message = (
            f"{subject.label}: {name} is exempt ({reason!r}) but passes: remove the exemption."
        )
    return CheckResult(name, status, message, seconds, tried, why, subject.reproduce(name))


def _problem(check: Check, subject: Subject) -> str | None:
    try:
        check(subject.value)
    except ConformanceFailure as failure:
        return text_of(failure, limit=8000)
    except DataError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        rule = rule_and_reason(check)[0]
        return f"{rule} Got {type(error).__name__}: {text_of(error)}{_where(error, subject.source)}"
    return None


def _where(error: BaseException, source: Any) -> str:
    """Return the last line of the traceback that lies in the plugin's file."""
    try:
        file = inspect.getfile(source)
    except (OSError, TypeError):
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    if not frames:
        return ""
    line = frames[-1].lineno or 0
    return f" ({file}:{line}, `{linecache.getline(file, line).strip()}`)"
