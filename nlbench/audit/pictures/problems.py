"""All problems that pixels tell, and all that features tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.audit.findings import PictureProblem
from nlbench.audit.pictures.copies import copy_problems
from nlbench.audit.pictures.oddities import odd_problems
from nlbench.audit.pictures.one_class import same_class_problems
from nlbench.audit.pictures.outliers import outlier_problems
from nlbench.audit.pictures.seeing import Progress, nothing_shown, sights
from nlbench.audit.samples import Samples


def picture_problems(
    samples: Samples, *, progress: Progress = nothing_shown
) -> list[PictureProblem]:
    """Return copies and near copies, blank, tiny, dark, light and oddly shaped pictures.

    Args:
        samples: Nothing is found where they have no images.
        progress: Called with (pictures looked at, pictures), by several threads.

    Raises:
        DataError: if a file is missing or cannot be read.
    """
    if samples.images is None:
        return []
    seen = sights(samples.images, progress)
    return [*copy_problems(seen, samples.labels, samples.parts), *odd_problems(seen)]


def feature_problems(
    samples: Samples,
    embeddings: Tensor | None,
    probabilities: Tensor | None,
    rows: npt.NDArray[np.int64] | None = None,
) -> list[PictureProblem]:
    """Return pictures that are like no class, and classes that are one class.

    Args:
        samples: Whose labels are used.
        embeddings: (R, d) unit-norm; no outliers are looked for without them.
        probabilities: (R, K), each of a probe that did not see the image.
        rows: (R,) positions among the samples that they are of; all where left out.
    """
    rows = np.arange(len(samples)) if rows is None else rows
    labels = torch.from_numpy(samples.labels[rows])
    found: list[PictureProblem] = []
    if embeddings is not None:
        found += outlier_problems(embeddings, labels.to(embeddings.device))
    if probabilities is not None:
        found += same_class_problems(probabilities, labels)
    return [replace(one, rows=tuple(rows[list(one.rows)].tolist())) for one in found]
