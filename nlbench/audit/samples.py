"""What is judged: the labels and images of all parts of a data set, none held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.data.content_keys import Keys, content_keys, knows_content
from nlbench.data.images import CENTRE, Fit, ImageSource


@dataclass(frozen=True, eq=False)
class Samples:
    """N labelled images, or N labels of things that only their features are known of.

    Attributes:
        name: The source, for people.
        names: N names, each once, such as ``train/cat/1.png``, in text that can be written.
        labels: (N,) int64 in [0, K), as given.
        class_names: K names.
        parts: N names of parts, such as "train"; all empty where the source has no parts.
        images: The images by position; None where there are none.
        fingerprint: SHA-256 of names, contents and labels.
        root: The folder of the images; None where they are not files in a folder.
        files: N file names relative to `root`, as the file system has them.
        label_file: The table that the labels came from; None where folders tell them.
        unreadable: Files that could not be decoded.
        passed_over: Files and folders that were not taken: reason -> number, first names.
        warnings: What makes the answer doubtful, in sentences.
    """

    name: str
    names: Sequence[str]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    parts: Sequence[str]
    images: ImageSource | None
    fingerprint: str
    root: Path | None = None
    files: Sequence[str] = ()
    label_file: Path | None = None
    unreadable: tuple[str, ...] = ()
    passed_over: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class JoinedImages(ImageSource):
    """The images of several parts, one after the other."""

    parts: tuple[ImageSource, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def load(self, indices: Tensor, size: int | None = None, fit: Fit = CENTRE) -> Tensor:
        """Return uint8 images (B, C, H, W), H = W = `size` where given."""
        batches, places, start = [], [], 0
        indices = indices.cpu()
        for part in self.parts:
            inside = ((indices >= start) & (indices < start + len(part))).nonzero().squeeze(1)
            if len(inside):
                batches.append(part.load(indices[inside] - start, size, fit))
                places.append(inside)
            start += len(part)
        return torch.cat(batches)[torch.cat(places).argsort()]


class JoinedKnownImages(JoinedImages):
    """The same where every part tells which of its images are the same."""

    def content_keys(self) -> Keys:
        """Return what tells the same images, (N,); see `content_keys`."""
        return np.concatenate([content_keys(part, "", len(part)) for part in self.parts])


def joined(*parts: ImageSource) -> JoinedImages:
    """Return several parts as one, whose images are known by content if all parts' are."""
    known = all(knows_content(part) for part in parts)
    return JoinedKnownImages(parts) if known else JoinedImages(parts)
