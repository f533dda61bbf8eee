"""The names of ImageNet-1k's classes, as timm ships them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

_WNID = re.compile(r"n\d{8}")


@cache
def imagenet_names() -> Mapping[str, str]:
    """Return WordNet id -> first name, such as ``n01532829`` -> ``house finch``, in class order."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return {
        wnid: str(info.label_name_to_description(wnid)).partition(",")[0]
        for wnid in info.label_names()
    }


def wnid_warning(class_names: Sequence[str]) -> str:
    """Return a warning where classes are called by WordNet ids, else an empty string.

    A text encoder does not know what ``n01532829`` is, so zero-shot predictions are guesses.
    """
    ids = [name for name in class_names if _WNID.fullmatch(name)]
    if not ids:
        return ""
    names = imagenet_names()
    of_imagenet = [f"{wnid} -> {names[wnid]}" for wnid in ids if wnid in names]
    text = (
        f"{len(ids)} of {len(class_names)} class names are WordNet ids, which selectors that read "
        "class names (CLIP's zero-shot prediction) cannot understand."
    )
    if not of_imagenet:
        return f"{text} Rename the class folders to words."
    return f"{text} Rename the class folders: {', '.join(of_imagenet)}."
