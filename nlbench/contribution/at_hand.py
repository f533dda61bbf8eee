"""From a record to the configuration that repeats it here, or to what is missing here for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nlbench.config.resolve import resolve
from nlbench.config.run_config import RunConfig
from nlbench.contribution.comparison import Difference, record_differences
from nlbench.contribution.origin import NotAtHandError, version_text
from nlbench.errors import NlbenchError
from nlbench.plugins import registry
from nlbench.results.record import RunRecord

_OTHER_CODE = (
    "Install the version of that code that made the run, or run it again with the code that is "
    "here and export the new record."
)
# The data set knows its own label file; naming another one is possible, not needed.
_OPTIONAL = "noise.label_file"


def config_here(record: RunRecord, data_dir: Path | None, places: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a record, with its files and data found on this machine.

    No path in the record is opened: whoever made it may have named any file.

    Args:
        record: What is to be repeated; its identity was checked already.
        data_dir: Folder that contains the data sets.
        places: Where files of the run are here, by setting: ``{"data.path": "my-images"}``.

    Raises:
        NotAtHandError: if a component, file or data set is missing or is another one here; the
            text names it and the next step.
    """
    if not record.versions:
        raise NotAtHandError(
            "its record is from before versions of the code were kept, so nothing says which code "
            "made it. Run it again and export the new record."
        )
    config = record.config
    _require_installed(config)
    settings = dict(_settings(record, places))
    try:
        here = resolve(
            selector=config["selector"]["name"], dataset=config["dataset"]["name"],
            noise=config["noise"]["kind"], noise_rate=config["noise"]["rate"], seed=record.seed,
            trainer=config["trainer"]["name"], settings=settings, data_dir=data_dir,
        )  # fmt: skip
    except NlbenchError as error:
        raise NotAtHandError(str(error)) from None
    if here.fingerprint != record.fingerprint:
        raise NotAtHandError(_why_another(record, here))
    return here


def file_settings(record: RunRecord) -> list[str]:
    """Return the settings of a run that name files or folders, whose paths are not recorded."""
    config = record.config
    sections = {
        "noise": config["noise"]["options"],
        "protocol": config["protocol"],
        "selector": config["selector"]["params"],
        "trainer": config["trainer"]["params"],
    }
    hashed = [
        f"{section}.{key}"
        for section, values in sections.items()
        for key, value in values.items()
        if isinstance(value, str) and "sha256:" in value  # a network's stands behind its head
    ]
    takes_path = registry.find("datasets", config["dataset"]["name"]).load().takes_path
    return [*(["data.path"] if takes_path else []), *hashed]


def _require_installed(config: Mapping[str, Any]) -> None:
    parts = (
        ("selectors", config["selector"]["name"]),
        ("datasets", config["dataset"]["name"]),
        ("noises", config["noise"]["kind"]),
        ("trainers", config["trainer"]["name"]),
    )
    for kind, name in parts:
        try:
            registry.find(kind, name).load()  # type: ignore[arg-type]
        except NlbenchError:
            raise NotAtHandError(
                f"{kind[:-1]} {name!r:.60} is not installed here: pass its file with --plugin, or "
                "install its package."
            ) from None


def _settings(record: RunRecord, places: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    config = record.config
    recorded = {
        "selector": config["selector"]["params"],
        "trainer": config["trainer"]["params"],
        "protocol": config["protocol"],
        "noise": config["noise"]["options"],
        "data": config["dataset"]["options"],
    }
    files = file_settings(record)
    for name in files:
        if name in places:
            yield name, places[name]
        elif name != _OPTIONAL:
            raise NotAtHandError(
                f"the run used a file of its own for {name}: say where it is here with "
                f"--set {name}=PATH."
            )
    for section, values in recorded.items():
        for key, value in values.items():
            if f"{section}.{key}" not in files:
                yield f"{section}.{key}", value


def _why_another(record: RunRecord, here: RunConfig) -> str:
    """Return why the run here would be another one: code, files or data that are not the same."""
    made_here = record.model_copy(
        update={"config": here.canonical(), "versions": dict(here.versions)}
    )
    differences = record_differences(record, made_here)
    code = [d for d in differences if d.part == "versions"]
    if code:
        return f"{'; '.join(_code_text(record, d) for d in code)}. {_OTHER_CODE}"
    lines = [_setting_text(d) for d in differences if d.part == "configuration"]
    return f"{'; '.join(lines[:3])}. Point --data-dir (or --set) to the files that the run used."


def _code_text(record: RunRecord, difference: Difference) -> str:
    config, part = record.config, difference.name
    names = {
        "selector": config["selector"]["name"],
        "trainer": config["trainer"]["name"],
        "dataset": config["dataset"]["name"],
        "noise": config["noise"]["kind"],
        "image_text_encoder": config["protocol"].get("image_text_encoder"),
        "image_encoder": config["protocol"].get("image_encoder"),
    }
    what = f"{part.replace('_', ' ')} {names[part]!r:.60}" if names.get(part) else f"toolbox {part}"
    return (
        f"the code of {what} differs: {version_text(difference.first)} in the record, "
        f"{version_text(difference.second)} here"
    )


def _setting_text(difference: Difference) -> str:
    name = difference.name.replace("dataset.content.", "data file ")
    first, second = (_short(v) for v in (difference.first, difference.second))
    return f"{name} is {first} in the record, {second} here"


def _short(value: Any) -> str:
    text = "missing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
