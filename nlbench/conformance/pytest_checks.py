"""One line for the tests of a plugin: a test for each check of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlbench.conformance.by_kind import (
    CHECKS_BY_KIND,
    check_dataset,
    check_encoder,
    check_noise,
    check_trainer,
)
from nlbench.conformance.results import Check, CheckResult, short_name
from nlbench.conformance.suite import check_selector, checks_for
from nlbench.data.image_data import Dataset
from nlbench.encoders.base import Encoder
from nlbench.noise.labels import Drawn
from nlbench.selector import AnySelector
from nlbench.training.task import Trainer

Test = Callable[[str], None]
_Run = Callable[[list[str]], Sequence[CheckResult]]


def selector_checks(selector_class: type[AnySelector], name: str | None = None) -> Test:
    """Return a test for pytest, once for each check of a selector.

    In a test file::

        from my_package.my_idea import MyIdea
        from nlbench.conformance import selector_checks

        test_my_idea = selector_checks(MyIdea)
    """
    return _test(
        checks_for(selector_class), lambda only: check_selector(selector_class, name, only)
    )


def noise_checks(
    noise: Callable[..., Drawn], name: str | None = None, options: Mapping[str, Any] | None = None
) -> Test:
    """Return a test for pytest, once for each check of a noise: `selector_checks` shows how."""
    return _test(CHECKS_BY_KIND["noises"], lambda only: check_noise(noise, name, only, options))


def dataset_checks(
    dataset: Dataset | type[Dataset], name: str | None = None, data_dir: Path | None = None
) -> Test:
    """Return a test for pytest, once for each check of a data set; skipped where it is not here."""
    return _test(
        CHECKS_BY_KIND["datasets"], lambda only: check_dataset(dataset, name, only, data_dir)
    )


def encoder_checks(
    encoder: Callable[[str], Encoder], name: str | None = None, argument: str = ""
) -> Test:
    """Return a test for pytest, once for each check of an encoder; skipped without its weights."""
    return _test(
        CHECKS_BY_KIND["encoders"], lambda only: check_encoder(encoder, name, only, argument)
    )


def trainer_checks(trainer_class: type[Trainer], name: str | None = None) -> Test:
    """Return a test for pytest, once for each check of a trainer: `selector_checks` shows how."""
    return _test(CHECKS_BY_KIND["trainers"], lambda only: check_trainer(trainer_class, name, only))


def _test(checks: Sequence[Check], run: _Run) -> Test:
    import pytest  # only here: nlbench runs without it

    names = [check.__name__ for check in checks]

    @pytest.mark.parametrize("check", names, ids=map(short_name, names))
    def test(check: str) -> None:
        (result,) = run([check])
        if result.status == "exempt":
            pytest.xfail(result.message)
        if result.status == "unchecked":
            pytest.skip(result.message)
        if result.status == "failed":
            pytest.fail(result.report, pytrace=False)

    return test
