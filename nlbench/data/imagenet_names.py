"""The names of ImageNet-1k's classes, as timm ships them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache


@cache
def imagenet_names() -> Mapping[str, str]:
    """Return WordNet id -> first name, such as ``n01532829`` -> ``house finch``, in class order."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return {
        wnid: str(info.label_name_to_description(wnid)).partition(",")[0]
        for wnid in info.label_names()
    }
