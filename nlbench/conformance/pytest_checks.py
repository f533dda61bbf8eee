"""One line for the tests of a plugin: a test for each check of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlbench.conformance.by_kind import CHECKS_BY_KIND, check_dataset, check_encoder, check_noise
from nlbench.conformance.results import CheckResult, short_name
from nlbench.conformance.suite import check_selector
from nlbench.data.image_data import Dataset
from nlbench.encoders.base import Encoder
from nlbench.noise.labels import Drawn
from nlbench.plugins.kinds import Kind
from nlbench.selector import AnySelector

Test = Callable[[str], None]
_Run = Callable[[list[str]], Sequence[CheckResult]]


def selector_checks(selector_class: type[AnySelector], name: str | None = None) -> Test:
    """Return a test for pytest, once for each check of a selector.

    In a test file::

        from my_package.my_idea import MyIdea
        from nlbench.conformance import selector_checks

        test_my_idea = selector_checks(MyIdea)
    """
    return _test("selectors", lambda only: check_selector(selector_class, name, only))


def noise_checks(
    noise: Callable[..., Drawn], name: str | None = None, options: Mapping[str, Any] | None = None
) -> Test:
    """Return a test for pytest, once for each check of a noise: `selector_checks` shows how."""
    return _test("noises", lambda only: check_noise(noise, name, only, options))


def dataset_checks(
    dataset: Dataset | type[Dataset], name: str | None = None, data_dir: Path | None = None
) -> Test:
    """Return a test for pytest, once for each check of a data set; skipped where it is not here."""
    return _test("datasets", lambda only: check_dataset(dataset, name, only, data_dir))


def encoder_checks(
    encoder: Callable[[str], Encoder], name: str | None = None, argument: str = ""
) -> Test:
    """Return a test for pytest, once for each check of an encoder; skipped without its weights."""
    return _test("encoders", lambda only: check_encoder(encoder, name, only, argument))


def _test(kind: Kind, run: _Run) -> Test:
    import pytest  # only here: nlbench runs without it

    names = [check.__name__ for check in CHECKS_BY_KIND[kind]]

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
