"""Names of networks that are a frozen encoder and a trained head.

``frozen:ENCODER`` is a linear head on an encoder's embeddings, ``frozen-512:ENCODER`` one with 512
hidden units. Imports no torch: configurations are made of names.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"frozen(?:-([1-9][0-9]*))?:(.+)")


def frozen_encoder(network: str) -> str:
    """Return the full name of a network's frozen encoder; empty for networks without one.

    >>> frozen_encoder("frozen:efficientnet-lite0:160"), frozen_encoder("small-cnn")
    ('efficientnet-lite0:160', '')
    """
    match = _NAME.fullmatch(network)
    return match.group(2) if match else ""


def frozen_hidden(network: str) -> int:
    """Return the hidden units of the head on a frozen encoder; 0 for a linear one.

    >>> frozen_hidden("frozen-512:bundled-glyphs"), frozen_hidden("frozen:bundled-glyphs")
    (512, 0)
    """
    match = _NAME.fullmatch(network)
    return int(match.group(1) or 0) if match else 0
