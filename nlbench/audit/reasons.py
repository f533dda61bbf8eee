"""Why a label is suspected: what the model says, whom the neighbours side with, who drops it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.audit.findings import Suspect
from nlbench.audit.judging import Verdict
from nlbench.scoring import of_label

_NEIGHBOURS = 20
_SHOWN = 3
_BLOCK = 128

Ints = npt.NDArray[np.int64]


def suspects(
    order: Ints,
    rows: Ints,
    labels: Tensor,
    suggested: Tensor,
    score: npt.NDArray[np.float64],
    probabilities: Tensor,
    verdicts: Sequence[Verdict],
    class_names: Sequence[str],
    embeddings: Tensor | None,
) -> tuple[Suspect, ...]:
    """Return suspects with their reasons, in the order given.

    Args:
        order: Positions of the suspects among the M judged samples, the most suspicious first.
        rows: (M,) positions of the judged samples among all.
        labels, suggested: (M,) int64.
        score: (M,) as voted.
        probabilities: (M, K).
        verdicts: Of all selectors.
        class_names: K names.
        embeddings: (M, d) unit-norm; without them nothing is said of neighbours.
    """
    at = torch.from_numpy(order)
    of_given = of_label(probabilities, labels)[at].tolist()
    of_suggested = of_label(probabilities, suggested)[at].tolist()
    around = [_Around()] * len(order)
    if embeddings is not None:
        around = _all_around(embeddings, labels, at, suggested[at])
    out = []
    for i, position in enumerate(order.tolist()):
        given, other = int(labels[position]), int(suggested[position])
        model = (
            f"the model gives {class_names[given]} {of_given[i]:.1%} and {class_names[other]} "
            f"{of_suggested[i]:.1%}"
        )
        out.append(
            Suspect(
                row=int(rows[position]),
                given=given,
                suggested=other,
                score=float(score[position]),
                dropped_by=tuple(v.name for v in verdicts if not v.keep[position]),
                reasons=tuple(filter(None, [model, around[i].words()])),
                like_given=tuple(int(rows[p]) for p in around[i].like_given),
                like_suggested=tuple(int(rows[p]) for p in around[i].like_suggested),
            )
        )
    return tuple(out)


@dataclass(frozen=True)
class _Around:
    """The neighbours of a sample: how many of the nearest bear either label, the first that do."""

    n: int = 0
    n_given: int = 0
    n_suggested: int = 0
    like_given: tuple[int, ...] = ()
    like_suggested: tuple[int, ...] = ()

    def words(self) -> str:
        if not self.n:
            return ""
        return (
            f"of its {self.n} nearest neighbours {self.n_given} bear its label, "
            f"{self.n_suggested} the suggested one"
        )


def _all_around(embeddings: Tensor, labels: Tensor, at: Tensor, suggested: Tensor) -> list[_Around]:
    """Return the neighbours of the samples at these positions."""
    k, out = min(_NEIGHBOURS, len(embeddings) - 1), []
    for positions, others in zip(at.split(_BLOCK), suggested.split(_BLOCK), strict=True):
        similarity = embeddings[positions] @ embeddings.T
        similarity[torch.arange(len(positions)), positions] = -torch.inf
        near = labels[similarity.topk(k, dim=1).indices]
        of_given, of_other = (
            _first_of(similarity, labels, classes) for classes in (labels[positions], others)
        )
        counts = [
            (near == classes[:, None]).sum(dim=1).tolist()
            for classes in (labels[positions], others)
        ]
        out += [
            _Around(k, counts[0][i], counts[1][i], of_given[i], of_other[i])
            for i in range(len(positions))
        ]
    return out


def _first_of(similarity: Tensor, labels: Tensor, classes: Tensor) -> list[tuple[int, ...]]:
    """Return the positions of the nearest samples of a class, for each row another one."""
    others = labels[None, :] != classes[:, None]
    best = similarity.masked_fill(others, -torch.inf).topk(min(_SHOWN, len(labels)), dim=1)
    return [
        tuple(p for p, s in zip(places, values, strict=True) if s > -torch.inf)
        for places, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
