"""Which code a run uses, part by part: the versions that go into its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlbench.config.run_config import ProtocolConfig, RunConfig
from nlbench.encoders.frozen_names import frozen_encoder
from nlbench.encoders.prompts import prompts_sha256
from nlbench.errors import PluginError
from nlbench.plugins import registry
from nlbench.plugins.versions import Version, uses_scoring, version_of


def code_versions(
    merged: Mapping[str, Any], selector: Mapping[str, Any], protocol: ProtocolConfig
) -> dict[str, Version]:
    """Return the versions of all that a run uses.

    Args:
        merged: The run's sections, with names, and with the trainer's network where it has one.
        selector: All hyper-parameters of the selector.
        protocol: Names the encoders of the roles.

    Returns:
        Version by part: ``dataset``, ``noise``, ``selector``, ``trainer``, the toolboxes
        ``training`` and, where the code of any part uses it, ``scoring``, and each encoder;
        for shipped prompts, which have no version, the hash of what they say.
    """
    from nlbench import scoring, training  # not on top: they load torch

    parts = _parts(merged, selector, protocol)
    versions = {part: version_of(registry.find(*place)) for part, place in parts.items()}
    versions["training"] = training.VERSION
    prompts = prompts_sha256(protocol.prompts)
    if prompts is not None:
        versions["prompts"] = f"text:{prompts}"
    estimates = "estimated" in selector.values()  # the noise rate, by HOC
    if estimates or any(uses_scoring(registry.find(*place)) for place in parts.values()):
        versions["scoring"] = scoring.VERSION
    return versions


def loose_files(config: RunConfig) -> tuple[Path, ...]:
    """Return the files given by ``--plugin`` that a run uses, whatever kind they are of."""
    found = components_of(config)
    return tuple(dict.fromkeys(c.path for c in found if c.is_loose and c.path is not None))


def components_of(config: RunConfig) -> tuple[registry.Component, ...]:
    """Return every component that a run uses, of whatever kind."""
    parts = _parts(_names_in(config), config.selector.params, config.protocol)
    return tuple(registry.find(*place) for place in parts.values())


def _parts(
    merged: Mapping[str, Any], selector: Mapping[str, Any], protocol: ProtocolConfig
) -> dict[str, tuple[registry.Kind, str]]:
    """Return the kind and name of every component that a run uses, by part."""
    parts: dict[str, tuple[registry.Kind, str]] = {
        "dataset": ("datasets", merged["dataset"]),
        "noise": ("noises", merged["noise"]["kind"]),
        "selector": ("selectors", merged["selector"]["name"]),
        "trainer": ("trainers", merged["trainer"]["name"]),
    }
    encoders = {
        "image_text_encoder": protocol.image_text_encoder,
        "image_encoder": protocol.image_encoder,
        # Any hyper-parameter may name an encoder, `encoder` is only the usual one.
        **{f"selector_{key}": value for key, value in selector.items() if isinstance(value, str)},
    }
    frozen = frozen_encoder(str(merged["trainer"].get("network")))
    if frozen:  # refused by name where there is no such encoder
        parts["network_encoder"] = ("encoders", frozen.partition(":")[0])
    kinds = registry.components("encoders")
    for part, name in encoders.items():
        kind = str(name).partition(":")[0]
        if kind in kinds:  # not so where it is a role or no encoder, or none is named
            parts[part] = ("encoders", kind)
    return parts


def _names_in(config: RunConfig) -> dict[str, Any]:
    return {
        "dataset": config.dataset.name,
        "noise": {"kind": config.noise.kind},
        "selector": {"name": config.selector.name},
        "trainer": {"name": config.trainer.name, "network": config.trainer.params.get("network")},
    }


def refuse_edited(config: RunConfig) -> None:
    """Refuse a configuration whose code was edited since, as in the middle of a sweep.

    A process that starts later would import the new code and record it under the old fingerprint.

    Raises:
        PluginError: names the parts.
    """
    now = code_versions(_names_in(config), config.selector.params, config.protocol)
    edited = [part for part, version in config.versions.items() if now.get(part) != version]
    if edited:
        raise PluginError(
            f"the code of {', '.join(edited)} was edited after this run was planned. "
            "Give the same command again, so that the new code gets a fingerprint of its own."
        )
