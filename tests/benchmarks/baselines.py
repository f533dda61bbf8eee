"""What a user would otherwise write: the code that timings are measured against.

Noise: the loop over samples of the released codes, which asks of every index whether it is in a
list. Selection: the same steps as the selectors', put together from scikit-learn in the plainest
way. Both are written from their descriptions, for reading and for comparing answers as well.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import truncnorm
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import PredefinedSplit
from sklearn.neighbors import NearestNeighbors

from nlbench import TrainingData
from nlbench.scoring import stratified_folds

Floats = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


# Noise -----------------------------------------------------------------------------------------


def loop_noise(
    clean: list[int], n_classes: int, rate: float, n_done: int | None = None
) -> list[int]:
    """Corrupt symmetrically, the true class included, as DivideMix's data loader does.

    Args:
        n_done: Stop after so many samples: the loop is quadratic, a million would take days.
    """
    order = list(range(len(clean)))
    random.Random(0).shuffle(order)  # noqa: S311
    chosen = order[: int(rate * len(clean))]
    draw = random.Random(1)  # noqa: S311
    noisy = []
    for i in range(len(clean) if n_done is None else n_done):
        if i in chosen:
            noisy.append(draw.randint(0, n_classes - 1))
        else:
            noisy.append(clean[i])
    return noisy


def loop_instance_noise(features: Floats, clean: Ints, n_classes: int, rate: float) -> Ints:
    """Corrupt by the image, sample by sample, as part-dependent noise is usually coded."""
    rng = np.random.default_rng(0)
    bounds = (0 - rate) / 0.1, (1 - rate) / 0.1
    rates = truncnorm.rvs(*bounds, loc=rate, scale=0.1, size=len(clean), random_state=rng)
    projections = rng.standard_normal((n_classes, features.shape[1], n_classes))
    noisy = np.empty_like(clean)
    for i in range(len(clean)):
        scores = features[i] @ projections[clean[i]]
        scores[clean[i]] = -np.inf
        chances = np.exp(scores - scores.max())
        chances *= rates[i] / chances.sum()
        chances[clean[i]] = 1 - rates[i]
        noisy[i] = rng.choice(n_classes, p=chances / chances.sum())
    return noisy


# Selection -------------------------------------------------------------------------------------


def zero_shot(x: Floats, texts: list[Floats], temperature: float = 0.07) -> Floats:
    columns = [np.exp(x @ prompts.T / temperature).mean(axis=1) for prompts in texts]
    scores = np.stack(columns, axis=1)
    return scores / scores.sum(axis=1, keepdims=True)


def probe(x: Floats, y: Ints) -> Floats:
    model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(x, y)
    return model.predict_proba(x)


def cross_fitted_probe(x: Floats, y: Ints, n_classes: int, folds: Ints) -> Floats:
    out = np.zeros((len(y), n_classes))
    for fit, held_out in PredefinedSplit(folds).split():
        model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(x[fit], y[fit])
        out[np.ix_(held_out, model.classes_)] = model.predict_proba(x[held_out])
    return out


def criteria(p: Floats, y: Ints, theta_gmm: float = 0.5, theta_cons: float = 0.8) -> Any:
    """Return which labels both a mixture for each class and the consistency accept, (N,) bool."""
    of_label = p[np.arange(len(y)), y]
    score = np.log(np.maximum(of_label, np.finfo(np.float32).tiny))
    keep = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        members = y == label
        values = score[members][:, None]
        values = (values - values.min()) / (values.max() - values.min())
        mixture = GaussianMixture(2, random_state=0).fit(values)
        posterior = mixture.predict_proba(values)[:, mixture.means_.argmax()]
        keep[members] = posterior >= theta_gmm
    return keep & (of_label / p.max(axis=1) >= theta_cons)


def clipcleaner(x: Floats, y: Ints, n_classes: int, texts: list[Floats], folds: Ints) -> Any:
    return criteria(zero_shot(x, texts), y) & criteria(probe(x, y), y)


def imagenet_baseline(x: Floats, y: Ints, n_classes: int, texts: list[Floats], folds: Ints) -> Any:
    p = cross_fitted_probe(x, y, n_classes, folds)
    return p[np.arange(len(y)), y] / p.max(axis=1) >= 0.8


def clip_knn(x: Floats, y: Ints, n_classes: int, texts: list[Floats], folds: Ints) -> Any:
    k = max(1, min(200, len(y) // (2 * n_classes)))
    search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(x)
    neighbours = search.kneighbors(return_distance=False)  # without the sample itself
    votes = np.zeros((len(y), n_classes))
    for label in range(n_classes):
        votes[:, label] = (y[neighbours] == label).sum(axis=1) / max(1, (y == label).sum())
    return votes[np.arange(len(y)), y] >= votes.max(axis=1)


def on(data: TrainingData) -> tuple[Floats, Ints, int, list[Floats], Ints]:
    """Return a baseline's arguments; the folds are those that imagenet-baseline draws."""
    return (
        data.embeddings().cpu().numpy(),
        data.noisy_labels.cpu().numpy(),
        data.n_classes,
        [texts.cpu().numpy() for texts in data.text_embeddings()],
        stratified_folds(data.noisy_labels, data.uniform("folds")).cpu().numpy(),
    )


SELECTION = {
    "clipcleaner": clipcleaner,
    "clip-knn": clip_knn,
    "imagenet-baseline": imagenet_baseline,
}
