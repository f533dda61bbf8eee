"""The checks of noises: the built-in ones pass, and each check is shown to fail."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nlbench.conformance import CHECKS_BY_KIND, check_noise
from nlbench.errors import ConfigError
from nlbench.plugins.registry import components, find

NAMES = [check.__name__ for check in CHECKS_BY_KIND["noises"]]
OPTIONS: dict[str, dict[str, Any]] = {
    "asymmetric": {"class_map": {0: 1, 1: 0, 3: 5}},
    "matrix": {"matrix": np.full((10, 10), 0.04) + 0.6 * np.eye(10)},
}
NEEDS_A_FILE = {"labels", "human"}


@pytest.mark.parametrize("check", NAMES)
@pytest.mark.parametrize("name", [n for n in components("noises") if n not in NEEDS_A_FILE])
def test_built_in_noise(name: str, check: str) -> None:
    draw = find("noises", name).load()
    (result,) = check_noise(draw, name, only=[check], options=OPTIONS.get(name))
    if result.status == "exempt":
        pytest.xfail(result.message)
    assert result.status == "passed", result.report


@pytest.mark.parametrize("name", [*sorted(NEEDS_A_FILE), "asymmetric", "matrix"])
def test_a_noise_that_needs_an_option_is_neither_passed_nor_failed(name: str) -> None:
    (result,) = check_noise(find("noises", name).load(), name)
    assert result.status == "unchecked"
    assert "--set " in result.message


def good(clean: Any, n_classes: int, rate: float, rng: np.random.Generator) -> Any:
    labels = np.where(rng.random(len(clean)) < rate, (clean + 1) % n_classes, clean)
    return labels, matrix_of(n_classes, rate)


def matrix_of(n_classes: int, rate: float) -> Any:
    matrix = (1 - rate) * np.eye(n_classes)
    matrix[np.arange(n_classes), (np.arange(n_classes) + 1) % n_classes] += rate
    return matrix


def test_good_noise_passes() -> None:
    results = check_noise(good)
    assert [r.name for r in results] == NAMES
    assert [r.report for r in results if r.status != "passed"] == []


def no_annotation(clean, n_classes, rate, rng):  # type: ignore[no-untyped-def]
    return good(clean, n_classes, rate or 0.0, rng)


def option_without_default(clean: Any, n_classes: int, rate: float, rng: Any, strength: int) -> Any:
    return good(clean, n_classes, rate, rng)


def floats(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    labels, matrix = good(clean, n_classes, rate, rng)
    return labels.astype(float), matrix


def one_too_many(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    labels, matrix = good(clean, n_classes, rate, rng)
    return np.where(labels == n_classes - 1, n_classes, labels), matrix


def labels_alone(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    return good(clean, n_classes, rate, rng)[0]


def half_rows(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    labels, matrix = good(clean, n_classes, rate, rng)
    return labels, matrix / 2


def transposed(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    labels, matrix = good(clean, n_classes, rate, rng)
    return labels, matrix.T.copy()


def twice_the_rate(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    return good(clean, n_classes, min(2 * rate, 1.0), rng)


def half_the_rate(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    return good(clean, n_classes, rate / 2, rng)


def never_clean(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    return good(clean, n_classes, max(rate, 0.01), rng)


def draws_elsewhere(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    return good(clean, n_classes, rate, np.random.default_rng())


def always_one_seed(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    return good(clean, n_classes, rate, np.random.default_rng(0))


def seeds_globally(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    np.random.seed(0)
    return good(clean, n_classes, rate, rng)


def writes(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    labels, matrix = good(clean, n_classes, rate, rng)
    clean[:] = labels
    return labels, matrix


def counts_the_matrix(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    labels, _ = good(clean, n_classes, rate, rng)
    pairs = np.bincount(clean * n_classes + labels, minlength=n_classes**2)
    table = pairs.reshape(n_classes, n_classes).astype(float)
    return labels, table / np.maximum(table.sum(axis=1, keepdims=True), 1)


def needs_three(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    if n_classes < 3:
        raise ValueError("too few")
    return good(clean, n_classes, rate, rng)


def leaves_a_variable(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
    os.environ["NOISY"] = "yes"
    return good(clean, n_classes, rate, rng)


BROKEN: list[tuple[Callable[..., Any], str, str]] = [
    (no_annotation, "check_signature", "`rate: float` for a noise that has one"),
    (option_without_default, "check_signature", "strength=None"),
    (floats, "check_labels", "int64, got float64"),
    (one_too_many, "check_labels", r"\[0, 10\), got values from 0 to 10"),
    (labels_alone, "check_labels", "must return two arrays"),
    (half_rows, "check_transition_matrix", "row 0 sums to 0.5"),
    (transposed, "check_matrix_agrees_with_labels", "transposed: row = clean class"),
    (twice_the_rate, "check_rate", "at most that share"),
    (half_the_rate, "check_rate", "nearly that share"),
    (never_clean, "check_rate_zero", "no label must change"),
    (draws_elsewhere, "check_same_rng_same_labels", "Draw only from `rng`"),
    (always_one_seed, "check_other_rng_other_labels", "not from a generator of your own"),
    (seeds_globally, "check_global_random_state", "global random state of numpy"),
    (leaves_a_variable, "check_surroundings", r"environment variables \(NOISY\)"),
    (writes, "check_inputs_untouched", "wrote into clean"),
    (counts_the_matrix, "check_absent_class", "row 3 sums to 0"),
    (needs_three, "check_two_classes", "Got ValueError: too few"),
]


@pytest.mark.parametrize(
    ("noise", "check", "says"), BROKEN, ids=[f"{b[1]}-{b[0].__name__}" for b in BROKEN]
)
def test_broken_noise_fails_its_check(noise: Callable[..., Any], check: str, says: str) -> None:
    (result,) = check_noise(noise, only=[check])
    assert result.status == "failed"
    assert re.search(says, result.message), result.message
    assert result.tried
    assert result.why
    assert noise.__name__ in result.reproduce


def test_every_check_is_shown_to_fail() -> None:
    assert {check for _, check, _ in BROKEN} == set(NAMES)


def test_two_classes_may_be_refused_by_a_config_error() -> None:
    def blocks(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
        if n_classes % 5:
            raise ConfigError("five must divide the number of classes.")
        return good(clean, n_classes, rate, rng)

    (result,) = check_noise(blocks, only=["two-classes"])
    assert result.status == "passed"


def test_an_unknown_check_is_refused_also_where_nothing_can_be_checked() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'check_two_classes'"):
        check_noise(find("noises", "labels").load(), only=["two-class"])


def test_an_exemption_has_a_reason_to_be() -> None:
    def exempt(clean: Any, n_classes: int, rate: float, rng: Any) -> Any:
        return good(clean, n_classes, rate, rng)

    exempt.conformance_exempt = {"check_rate": "feels safer"}  # type: ignore[attr-defined]
    (result,) = check_noise(exempt, only=["rate"])
    assert "is exempt ('feels safer') but passes: remove the exemption" in result.message
    exempt.conformance_exempt = {"check_rates": "it cannot"}  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="Did you mean 'check_rate'"):
        check_noise(exempt)
