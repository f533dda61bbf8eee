"""What a noise works on: labels, and the transition matrix that they show."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float64]
Drawn = tuple[Labels, Matrix]


def counted_matrix(clean: Labels, noisy: Labels, n_classes: int) -> Matrix:
    """Return the (K, K) shares of noisy labels within each clean class; absent classes keep 1."""
    counted = np.bincount(clean * n_classes + noisy, minlength=n_classes**2).astype(np.float64)
    counted = counted.reshape(n_classes, n_classes)
    counted[counted.sum(axis=1) == 0] = np.eye(n_classes)[counted.sum(axis=1) == 0]
    return counted / counted.sum(axis=1, keepdims=True)
