"""Which version of an encoder's code an embedding was made with."""

from __future__ import annotations

from nlbench.plugins.registry import components, find
from nlbench.plugins.versions import version_of


def encoder_version(name: str) -> str:
    """Return the version of an encoder's code by the encoder's full name."""
    return str(version_of(find("encoders", name.partition(":")[0])))


def is_outdated(metadata: dict[str, str]) -> bool:
    """Return whether embeddings were made by an older version of an encoder and are of no use.

    Those of an encoder that is not installed at the moment are kept for its return.
    """
    name = metadata["encoder"]
    if name.partition(":")[0] not in components("encoders"):
        return False
    return metadata.get("encoder_version") != encoder_version(name)
