"""Training at an equal kept share: what a selector's ranking is worth, its threshold aside."""

from __future__ import annotations

import dataclasses

import torch

from nlbench.selector import Selection, TrainingData


def keep_top_share(selection: Selection, data: TrainingData, share: float | None) -> Selection:
    """Replace a selector's decision by the samples that its score puts first.

    Weights are dropped: a kept sample with weight 0 would not be trained on, and the share would
    not be equal. Corrected labels stay.

    Args:
        selection: A checked answer to `data`.
        data: Ties are broken by a draw that stays with each sample, whatever the order.
        share: In (0, 1], rounded to whole samples and at least one; None changes nothing.

    >>> data = TrainingData.from_arrays(noisy_labels=[0, 1, 1, 0], n_classes=2)
    >>> answer = Selection(keep=torch.tensor([True, False, False, False]),
    ...                    score=torch.tensor([0.9, 0.1, 0.8, 0.2]))
    >>> keep_top_share(answer, data, 0.5).keep.tolist()
    [True, False, True, False]
    """
    if share is None:
        return selection
    # A stable sort of samples that already stand in the order of their draws.
    drawn = data.uniform("equal keep").argsort()
    order = drawn[selection.score[drawn].argsort(descending=True, stable=True)]
    keep = torch.zeros_like(selection.keep)
    keep[order[: max(1, round(share * len(order)))]] = True
    return dataclasses.replace(selection, keep=keep, weights=None)


def keep_top_share_after_warmup(
    selection: Selection, data: TrainingData, share: float | None
) -> Selection:
    """Do so for an online selector, whose warm-up on everything is part of its method.

    An answer that keeps every sample counts as warm-up and stays as it is.
    """
    return selection if bool(selection.keep.all()) else keep_top_share(selection, data, share)
