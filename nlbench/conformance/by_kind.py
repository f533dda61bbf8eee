"""From a kind of component to its checks, and from a component to their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlbench.conformance.dataset_checks import DATASET_CHECKS, DatasetCase, load_again
from nlbench.conformance.encoder_checks import ENCODER_CHECKS, EncoderCase, made_again
from nlbench.conformance.noise_checks import NOISE_CHECKS, NoiseCase, what_is_missing
from nlbench.conformance.results import (
    Check,
    CheckResult,
    Subject,
    named_checks,
    python_lines,
    run_checks,
)
from nlbench.conformance.suite import CHECKS, check_selector
from nlbench.conformance.trainer_checks import TRAINER_CHECKS
from nlbench.data.image_data import Dataset
from nlbench.encoders.base import Encoder
from nlbench.errors import ConfigError, DataError
from nlbench.noise.corrupt import check_options
from nlbench.noise.labels import Drawn
from nlbench.plugins.kinds import Kind, singular
from nlbench.surroundings import watched
from nlbench.training.task import Trainer

CHECKS_BY_KIND: Mapping[Kind, tuple[Check, ...]] = {
    "selectors": CHECKS,
    "noises": NOISE_CHECKS,
    "datasets": DATASET_CHECKS,
    "encoders": ENCODER_CHECKS,
    "trainers": TRAINER_CHECKS,
}

Reproduce = Callable[[str], str]


def check_noise(
    noise: Callable[..., Drawn],
    name: str | None = None,
    only: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    reproduce: Reproduce | None = None,
) -> list[CheckResult]:
    """Hold a noise to its checks, on planted labels of ten classes.

    Args:
        noise: The function.
        name: What it is called in messages; the function's name if left out.
        only: Names of checks; all where left out.
        options: Its own options, such as a class map.
        reproduce: From a check's name to the shortest way to see it again.

    Returns:
        One result per check, or a single "unchecked" one where the noise needs an option.

    Raises:
        ConfigError: if `only` names a check that does not exist, or `options` an option.
    """
    check_options(name or noise.__name__, noise, options or {})
    case = NoiseCase(noise, dict(options or {}))
    subject = _subject("noises", case, noise, name, reproduce)
    checks = named_checks(NOISE_CHECKS, only)
    missing = _missing_words(lambda: what_is_missing(case))
    return [_unchecked(missing)] if missing else run_checks(checks, subject, None)


def check_trainer(
    trainer_class: type[Trainer],
    name: str | None = None,
    only: Sequence[str] | None = None,
    reproduce: Reproduce | None = None,
) -> list[CheckResult]:
    """Hold a trainer to its checks, on a small planted problem with a small network.

    Args:
        trainer_class: The class, tried with its defaults but for the network and its steps.
        name: What it is called in messages; the class's name if left out.
        only: Names of checks; all where left out.
        reproduce: From a check's name to the shortest way to see it again.

    Raises:
        ConfigError: if `only` names a check that does not exist.
    """
    subject = _subject("trainers", trainer_class, trainer_class, name, reproduce)
    return run_checks(named_checks(TRAINER_CHECKS, only), subject, None)


def check_dataset(
    dataset: Dataset | type[Dataset],
    name: str | None = None,
    only: Sequence[str] | None = None,
    data_dir: Path | None = None,
    reproduce: Reproduce | None = None,
) -> list[CheckResult]:
    """Hold a data set to its checks.

    Args:
        dataset: The class, for its defaults, or an instance with options.
        name: What it is called in messages; the class's name if left out.
        only: Names of checks; all where left out.
        data_dir: The folder that contains the data sets.
        reproduce: From a check's name to the shortest way to see it again.

    Returns:
        One result per check, or a single "unchecked" one where the data is not on this machine.

    Raises:
        ConfigError: if `only` names a check that does not exist.
    """
    source = dataset() if isinstance(dataset, type) else dataset
    case = DatasetCase(source, data_dir)
    subject = _subject("datasets", case, type(source), name, reproduce)
    checks = named_checks(DATASET_CHECKS, only)
    missing = _missing(lambda: load_again(case))
    return [_unchecked(missing)] if missing else run_checks(checks, subject, None)


def check_encoder(
    encoder: Callable[[str], Encoder],
    name: str | None = None,
    only: Sequence[str] | None = None,
    argument: str = "",
    reproduce: Reproduce | None = None,
) -> list[CheckResult]:
    """Hold an encoder to its checks.

    Args:
        encoder: The class or function that makes it from the text behind the colon of its name.
        name: What it is called in messages; the name of the class or function if left out.
        only: Names of checks; all where left out.
        argument: The text behind the colon.
        reproduce: From a check's name to the shortest way to see it again.

    Returns:
        One result per check, or a single "unchecked" one where its weights are not on this machine.

    Raises:
        ConfigError: if `only` names a check that does not exist.
    """
    case = EncoderCase(encoder, argument)
    subject = _subject("encoders", case, encoder, name, reproduce)
    checks = named_checks(ENCODER_CHECKS, only)
    missing = _missing(lambda: made_again(case))
    return [_unchecked(missing)] if missing else run_checks(checks, subject, None)


def check_component(
    kind: Kind,
    loaded: Any,
    name: str,
    only: Sequence[str] | None = None,
    argument: str = "",
    settings: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
    reproduce: Reproduce | None = None,
) -> list[CheckResult]:
    """Hold a loaded component of any kind to the checks of its kind.

    Args:
        kind: Its kind.
        loaded: What the registry loaded.
        name: What it is called in messages.
        only: Names of checks; all where left out.
        argument: What stands behind the colon of its name: a folder, a model.
        settings: Options of a noise or data set.
        data_dir: The folder that contains the data sets.
        reproduce: From a check's name to the shortest way to see it again.

    Raises:
        ConfigError: if the kind takes no settings.
    """
    from nlbench.plugins.registry import make_selector

    if settings and kind not in ("noises", "datasets"):
        raise ConfigError(f"settings are for noises and data sets, not for a {singular(kind)}.")
    if kind == "selectors":
        return check_selector(loaded, name, only, reproduce)
    if kind == "trainers":
        return check_trainer(loaded, name, only, reproduce)
    if kind == "noises":
        return check_noise(loaded, name, only, settings, reproduce)
    if kind == "encoders":
        return check_encoder(loaded, name, only, argument, reproduce)
    options = {**({"path": argument} if argument else {}), **(settings or {})}
    source = make_selector(loaded, options, name=name, kind=kind)
    return check_dataset(source, name, only, data_dir, reproduce)  # type: ignore[arg-type]


def _missing_words(ask: Callable[[], str | None]) -> str | None:
    with watched():  # what this leaves behind, the checks would not see
        return ask()


def _missing(read: Callable[[], object]) -> str | None:
    """Return why something cannot be read here; None where it can, or fails otherwise."""
    try:
        with watched():
            read()
    except DataError as error:
        return str(error)
    except Exception:  # what the checks are for
        return None
    return None


def _unchecked(missing: str) -> CheckResult:
    return CheckResult("check_can_be_tried", "unchecked", missing, 0.0)


def _subject(
    kind: Kind, case: Any, source: Any, name: str | None, reproduce: Reproduce | None
) -> Subject:
    own = getattr(source, "__name__", type(source).__name__)
    exempt = dict(getattr(source, "conformance_exempt", {}))
    named_checks(CHECKS_BY_KIND[kind], exempt)  # a typing error in it is refused
    return Subject(
        value=case,
        label=name or own,
        reproduce=reproduce or (lambda check: _lines(singular(kind), source, own, check)),
        source=source,
        exempt=exempt,
    )


def _lines(kind: str, source: Any, name: str, check: str) -> str:
    return python_lines(
        f"from {source.__module__} import {name}",
        f"from nlbench.conformance import check_{kind}",
        f"print(check_{kind}({name}, only=[{check!r}])[0].report)",
    )
