"""Class probabilities (N, K) from frozen features: zero-shot, logistic probe, nearest neighbours.

Sources: zero-shot, Radford et al., ICML 2021 (CLIP), with the mean over prompts taken of the
exponentials as in CLIPCleaner (arXiv 2408.10012, its released code sums instead); probe,
CLIPCleaner; neighbours, SSR (Feng et al., BMVC 2022, arXiv 2111.11288).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from nlbench.errors import PluginError
from nlbench.scoring.blocks import rows_from_blocks
from nlbench.scoring.neighbours import neighbour_search, query_search
from nlbench.scoring.probe import Conditioner, fit_probe

# Of a block of similarities to prompts: it stays in a core's cache.
_MAX_ROWS, _MAX_VALUES = 1024, 2**18


def zero_shot_probabilities(
    embeddings: Tensor,
    text_embeddings: Sequence[Tensor],
    temperature: float = 0.07,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Return p(class | image) from text prompts.

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
    n_prompts = [len(texts) for texts in text_embeddings]
    widest = max(n_prompts)
    padded = torch.cat([texts[torch.arange(widest) % len(texts)] for texts in text_embeddings])
    missing = torch.tensor([[j >= n for j in range(widest)] for n in n_prompts]).to(padded.device)
    # By the mean, each class's sum is divided by its number of prompts.
    log_n = torch.tensor([math.log(n) if reduction == "mean" else 0.0 for n in n_prompts])
    log_n = log_n.to(padded)

    def of_rows(rows: slice) -> Tensor:
        logits = (embeddings[rows] @ padded.T / temperature).view(-1, len(n_prompts), widest)
        logits.masked_fill_(missing, -torch.inf)
        return torch.softmax(torch.logsumexp(logits, dim=2) - log_n, dim=1)

    block = max(64, min(_MAX_ROWS, _MAX_VALUES // len(padded)))
    return rows_from_blocks(of_rows, len(embeddings), block, embeddings.device)


def probe_probabilities(
    embeddings: Tensor,
    noisy_labels: Tensor,
    n_classes: int,
    c: float = 1.0,
    folds: Tensor | None = None,
    queries: Tensor | None = None,
) -> Tensor:
    """Return p(class | image) of a multinomial logistic regression on the noisy labels.

    Class-balanced weights, L2 with inverse strength `c`, solved by `nlbench.scoring.probe`.
    In-sample, or cross-fitted: each fold's probabilities come from a probe that did not see it.

    Args:
        embeddings: (N, d).
        noisy_labels: (N,) int64 in [0, K).
        n_classes: K; a class that is absent gets probability 0.
        c: Inverse L2 strength, > 0.
        folds: (N,) int64 fold of each sample (`stratified_folds`), or None for in-sample.
        queries: (M, d) other points to answer for, instead of the samples; not with `folds`.

    Returns:
        (N, K) float32, rows sum to 1; (M, K) for `queries`.

    Raises:
        PluginError: if both `folds` and `queries` are given.
    """
    x = embeddings.detach().float()
    out = torch.zeros(len(x if queries is None else queries), n_classes, device=x.device)
    everyone = torch.ones_like(noisy_labels, dtype=torch.bool)
    conditioner = Conditioner(x)
    if queries is not None:
        if folds is not None:
            raise PluginError(
                "`folds` must be None with `queries`, got both: a probe of all samples answers for "
                "other points. Leave out one of them."
            )
        points = queries.detach().float()
        every_point = torch.ones(len(points), dtype=torch.bool, device=x.device)
        _fit_into(out, x, noisy_labels, everyone, every_point, c, conditioner, points)
    elif folds is None:
        _fit_into(out, x, noisy_labels, everyone, everyone, c, conditioner)
    else:
        for fold in folds.unique():
            inside = folds == fold
            _fit_into(out, x, noisy_labels, ~inside, inside, c, conditioner)
    return out


def _fit_into(
    out: Tensor,
    x: Tensor,
    y: Tensor,
    fit: Tensor,
    predict: Tensor,
    c: float,
    conditioner: Conditioner,
    points: Tensor | None = None,
) -> None:
    """Fit on the samples marked in `fit`, answer for the `points`, or samples, of `predict`."""
    counts = torch.bincount(y[fit], minlength=out.shape[1])
    classes = counts.nonzero().squeeze(1)
    if len(classes) == 0:  # nothing outside the fold to learn from: nothing is known
        out[predict] = 1 / out.shape[1]
        return
    if len(classes) == 1:
        out[predict, classes[0]] = 1.0
        return
    ids = torch.zeros_like(counts)  # a class that is only in the fold has weight 0 there
    ids[classes] = torch.arange(len(classes), device=x.device)
    weight_of_class = counts.sum() / (len(classes) * counts.clamp_min(1))
    weights = (weight_of_class[y] * fit).float()
    # Two classes are one logit to scikit-learn: its penalty is that of both columns at half C.
    c = c / 2 if len(classes) == 2 else c
    probe = fit_probe(x, ids[y], weights, len(classes), c, conditioner)
    points = x if points is None else points
    everyone = bool(predict.all())
    if everyone and len(classes) == out.shape[1]:
        probe.probabilities(points, out)
    else:
        out[predict.nonzero(), classes] = probe.probabilities(
            points if everyone else points[predict]
        )


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
    queries: Tensor | None = None,
) -> Tensor:
    """Return p(class | image) as the label histogram of the nearest neighbours by cosine.

    The sample itself is not its own neighbour. With `balance`, counts are divided by the class
    prior and renormalised.

    Args:
        embeddings: (N, d) unit-norm.
        noisy_labels: (N,) int64 in [0, K).
        n_classes: K.
        k: Neighbours; at most N - 1 are taken, N for `queries`.
        balance: Divide by the share of each class among the labels.
        queries: (M, d) other unit-norm points to answer for, instead of the samples.

    Returns:
        (N, K) float32, rows sum to 1; (M, K) for `queries`.
    """
    counts = torch.bincount(noisy_labels, minlength=n_classes)
    prior = (counts / len(noisy_labels)).clamp_min(1e-12) if balance else 1.0

    if queries is None:
        nearest, block = neighbour_search(embeddings, min(k, len(embeddings) - 1))
    else:
        nearest, block = query_search(embeddings, queries, min(k, len(embeddings)))

    def of_rows(rows: slice) -> Tensor:
        votes = noisy_labels[nearest(rows)]
        histogram = torch.zeros(len(votes), n_classes, device=votes.device)
        histogram.scatter_add_(1, votes, torch.ones_like(votes, dtype=histogram.dtype))
        weighted = histogram / prior
        return weighted / weighted.sum(dim=1, keepdim=True).clamp_min(1e-12)

    n_rows = len(embeddings if queries is None else queries)
    return rows_from_blocks(of_rows, n_rows, block, embeddings.device)
