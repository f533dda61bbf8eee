"""Class probabilities (N, K) from frozen features: zero-shot, logistic probe, nearest neighbours.

Sources: zero-shot, Radford et al., ICML 2021 (CLIP), with the mean over prompts taken of the
exponentials as in CLIPCleaner (arXiv 2408.10012, its released code sums instead); probe,
CLIPCleaner; neighbours, SSR (Feng et al., BMVC 2022, arXiv 2111.11288).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]

_KNN_BLOCK = 4096


def zero_shot_probabilities(
    embeddings: Tensor,
    text_embeddings: Sequence[Tensor],
    temperature: float = 0.07,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Give p(class | image) from text prompts.

    s_k is the mean over class k's prompts of exp(v.t / temperature); p = s / sum(s). Computed in
    the log domain: at CLIP's own temperature 0.01 the exponentials overflow float32.

    Args:
        embeddings: (N, d) unit-norm.
        text_embeddings: K tensors (P_k, d), unit-norm.
        temperature: > 0.
        reduction: ``"sum"`` favours classes with more prompts; kept for parity with released code.

    Returns:
        (N, K), rows sum to 1.

    >>> image = torch.tensor([[1.0, 0.0]])
    >>> texts = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])]
    >>> zero_shot_probabilities(image, texts, temperature=1.0)
    tensor([[0.7311, 0.2689]])
    """
    columns = []
    for texts in text_embeddings:
        log_sum = torch.logsumexp(embeddings @ texts.T / temperature, dim=1)
        columns.append(log_sum - math.log(len(texts)) if reduction == "mean" else log_sum)
    return torch.softmax(torch.stack(columns, dim=1), dim=1)


def probe_probabilities(
    embeddings: Tensor,
    noisy_labels: Tensor,
    n_classes: int,
    c: float = 1.0,
    folds: Tensor | None = None,
) -> Tensor:
    """Give p(class | image) of a multinomial logistic regression on the noisy labels.

    Class-balanced weights, L2 with inverse strength `c`, lbfgs. In-sample, or cross-fitted: each
    fold's probabilities come from a probe that did not see it.

    Args:
        embeddings: (N, d).
        noisy_labels: (N,) int64 in [0, K).
        n_classes: K; a class that is absent gets probability 0.
        c: Inverse L2 strength, > 0.
        folds: (N,) int64 fold of each sample (`stratified_folds`), or None for in-sample.

    Returns:
        (N, K) float32, rows sum to 1.
    """
    x, y = embeddings.float().cpu().numpy(), noisy_labels.cpu().numpy()
    out = np.zeros((len(y), n_classes), dtype=np.float64)
    if folds is None:
        _fit_into(out, x, y, np.ones(len(y), bool), np.ones(len(y), bool), c)
    else:
        fold_of = folds.cpu().numpy()
        for fold in np.unique(fold_of):
            _fit_into(out, x, y, fold_of != fold, fold_of == fold, c)
    return torch.from_numpy(out).to(embeddings.device, torch.float32)


def _fit_into(
    out: np.ndarray, x: np.ndarray, y: np.ndarray, fit: Any, predict: Any, c: float
) -> None:
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(y[fit])
    if len(classes) == 0:  # nothing outside the fold to learn from: nothing is known
        out[predict] = 1 / out.shape[1]
        return
    if len(classes) == 1:
        out[predict, classes[0]] = 1.0
        return
    probe = LogisticRegression(C=c, class_weight="balanced", max_iter=1000)
    probe.fit(x[fit], y[fit])
    out[np.ix_(predict, probe.classes_)] = probe.predict_proba(x[predict])


def stratified_folds(noisy_labels: Tensor, order: Tensor, n_folds: int = 5) -> Tensor:
    """Deal the samples of each class into folds, in a given order.

    Args:
        noisy_labels: (N,) int64.
        order: (N,) sort key; ``data.uniform("folds")`` makes folds that follow a permutation of
            the data.
        n_folds: At least 2.

    Returns:
        (N,) int64 in [0, n_folds); sizes within a class differ by at most 1.

    >>> stratified_folds(torch.tensor([0, 0, 1, 1]), torch.tensor([0.1, 0.2, 0.3, 0.4]), 2).tolist()
    [0, 1, 0, 1]
    """
    by_key = torch.argsort(order, stable=True)
    by_class = by_key[torch.argsort(noisy_labels[by_key], stable=True)]
    sizes = torch.bincount(noisy_labels)
    starts = torch.repeat_interleave(torch.cumsum(sizes, 0) - sizes, sizes)
    rank = torch.arange(len(noisy_labels), device=noisy_labels.device) - starts
    folds = torch.empty_like(noisy_labels)
    folds[by_class] = rank % n_folds
    return folds


def knn_probabilities(
    embeddings: Tensor,
    noisy_labels: Tensor,
    n_classes: int,
    k: int = 200,
    balance: bool = True,
) -> Tensor:
    """Give p(class | image) as the label histogram of the nearest neighbours by cosine.

    The sample itself is not its own neighbour. With `balance`, counts are divided by the class
    prior and renormalised.

    Args:
        embeddings: (N, d) unit-norm.
        noisy_labels: (N,) int64 in [0, K).
        n_classes: K.
        k: Neighbours; at most N - 1 are taken.
        balance: Divide by the share of each class among the labels.

    Returns:
        (N, K) float32, rows sum to 1.
    """
    n = len(embeddings)
    k = min(k, n - 1)
    one_hot = torch.nn.functional.one_hot(noisy_labels, n_classes).to(torch.float32)
    prior = one_hot.mean(dim=0).clamp_min(1e-12) if balance else 1.0
    rows = []
    # In blocks: N x N similarities of a million samples would take terabytes.
    for start in range(0, n, _KNN_BLOCK):
        block = embeddings[start : start + _KNN_BLOCK]
        similarity = block @ embeddings.T
        own = torch.arange(len(block), device=block.device)
        similarity[own, own + start] = -torch.inf
        neighbours = similarity.topk(k, dim=1, sorted=False).indices
        counts = torch.zeros(len(block), n_classes, device=block.device)
        counts.scatter_add_(
            1, noisy_labels[neighbours], torch.ones_like(neighbours, dtype=counts.dtype)
        )
        rows.append(counts / prior)
    weighted = torch.cat(rows)
    return weighted / weighted.sum(dim=1, keepdim=True).clamp_min(1e-12)
