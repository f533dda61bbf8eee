"""HOC: transition matrix and noise rate from how often the labels of neighbours agree.

Source: Zhu, Song, Liu, "Clusterability as an Alternative to Anchor Points When Learning with Noisy
Labels", ICML 2021, arXiv 2102.05291, equations 3 to 6. Where a sample and its two nearest
neighbours have the same true label i, their noisy labels are three draws from row i of T. So the
shares of single labels, pairs and triples are, with class prior p,

    c1[j] = sum_i p_i T_ij
    c2[j, l] = sum_i p_i T_ij T_il
    c3[j, l, m] = sum_i p_i T_ij T_il T_im

and T, p are those with the least sum of the three squared distances to the shares as counted.

Deviations from the released code: every sample is counted once, where it averages over random
subsamples; counts are averaged over the order within a pair or triple, in which the model has no
order either, and pairs are with both neighbours; the start is fixed, where the prior's is random;
distances are squared: without, Adam jumps about the kink of a distance that is nearly 0, and the
last bits decide where it is when it stops. So there is no draw, and the order of the samples does
not count. Adam stops after some hundred steps as there: the optimum itself follows the counts' own
noise, which is worse from a few thousand samples. Norms are expanded, so that a step costs a few
passes over the different triples and none over all K^3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nlbench.errors import PluginError
from nlbench.scoring.neighbours import nearest_neighbours

_N_NEIGHBOURS = 2
_BLOCK_VALUES = 2**15
# The released code's start (the diagonal leads the other logits) and steps; half its step length,
# which follows less of the counts' noise.
_START_LEAD, _STEPS, _STEP_LENGTH = 5.0, 400, 0.05
# Adam's (Kingma and Ba, ICLR 2015, arXiv 1412.6980).
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


def hoc_transition_matrix(
    embeddings: Tensor, noisy_labels: Tensor, n_classes: int
) -> tuple[Tensor, Tensor]:
    """Return the transition matrix and the prior of the true classes, estimated from neighbours.

    It needs neighbours of the same true class, and labels that are right more often than they are
    any one wrong class.

    Args:
        embeddings: (N, d) unit-norm, N at least 3.
        noisy_labels: (N,) int64 in [0, K).
        n_classes: K; a class without labels has prior 0 and an identity row.

    Returns:
        T (K, K) float32 with T[i, j] = P(noisy j given true i), and the prior (K,) float32.

    Raises:
        PluginError: if there are fewer than 3 samples.
    """
    if len(noisy_labels) <= _N_NEIGHBOURS:
        raise PluginError(
            f"HOC must have at least {_N_NEIGHBOURS + 1} samples, got {len(noisy_labels)}: give "
            "the noise rate as a number."
        )
    positions, _ = nearest_neighbours(embeddings, _N_NEIGHBOURS)
    present, own = noisy_labels.unique(return_inverse=True)
    triples = torch.cat([own[:, None], own[positions]], dim=1).cpu()
    transition, prior = _fitted(triples, len(present))
    matrix = torch.eye(n_classes, device=embeddings.device)
    matrix[present[:, None], present] = transition.to(matrix)
    of_class = torch.zeros(n_classes, device=embeddings.device)
    of_class[present] = prior.to(of_class)
    return matrix, of_class


def estimate_noise_rate(embeddings: Tensor, noisy_labels: Tensor, n_classes: int) -> float:
    """Return the share of wrong labels, estimated by HOC: 1 - sum_i p_i T_ii.

    Args:
        embeddings: (N, d) unit-norm, N at least 3.
        noisy_labels: (N,) int64 in [0, K).
        n_classes: K.

    Returns:
        A share in [0, 1].

    Raises:
        PluginError: if there are fewer than 3 samples.
    """
    transition, prior = hoc_transition_matrix(embeddings, noisy_labels, n_classes)
    return min(1.0, max(0.0, 1 - float((prior * transition.diagonal()).sum(dtype=torch.float64))))


@dataclass(frozen=True, eq=False)
class _Counts:
    """Shares of label groups of one size, the order within a group aside.

    Attributes:
        labels: (U, m) int64, rows sorted, each once.
        shares: (U,) float64, sum 1.
    """

    labels: Tensor
    shares: Tensor

    @classmethod
    def of(cls, groups: Tensor) -> _Counts:
        labels, counts = groups.sort(dim=1).values.unique(dim=0, return_counts=True)
        return cls(labels, counts.double() / len(groups))

    def blocks(self, k: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield labels and shares of so many groups that their (B, K) numbers stay in a cache."""
        size = max(1, _BLOCK_VALUES // k)
        return zip(self.labels.split(size), self.shares.split(size), strict=True)


def _fitted(triples: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return T (K, K) and p (K,) in float64 from the labels of triples (N, 3)."""
    pairs = torch.cat([triples[:, [0, 1]], triples[:, [0, 2]]])
    counts = [_Counts.of(triples[:, :1]), _Counts.of(pairs), _Counts.of(triples)]
    prior = torch.bincount(triples[:, 0], minlength=k).double() / len(triples)
    logits = torch.cat([(_START_LEAD * torch.eye(k).double()).flatten(), prior.log()])
    mean, square = torch.zeros_like(logits), torch.zeros_like(logits)
    for step in range(1, _STEPS + 1):
        slope = _slope(counts, *_from_logits(logits, k))
        mean = _BETA_1 * mean + (1 - _BETA_1) * slope
        square = _BETA_2 * square + (1 - _BETA_2) * slope.square()
        scale = (square / (1 - _BETA_2**step)).sqrt() + _EPSILON
        logits = logits - _STEP_LENGTH * mean / (1 - _BETA_1**step) / scale
    return _named(*_from_logits(logits, k))


def _named(transition: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Give the true classes the names with which most labels are right.

    The equations hold for the classes in any order, and near 50 % noise Adam can step into another.
    """
    from scipy.optimize import linear_sum_assignment

    joint = (prior[:, None] * transition).numpy()
    rows = torch.from_numpy(linear_sum_assignment(joint.T, maximize=True)[1])
    return transition[rows], prior[rows]


def _from_logits(flat: Tensor, k: int) -> tuple[Tensor, Tensor]:
    return flat[: k * k].view(k, k).softmax(dim=1), flat[k * k :].softmax(dim=0)


def _softmax_slope(probabilities: Tensor, slope: Tensor) -> Tensor:
    return probabilities * (slope - (probabilities * slope).sum(dim=-1, keepdim=True))


def _slope(counts: list[_Counts], transition: Tensor, prior: Tensor) -> Tensor:
    """Return the slope of the sum of squared distances by the logits, (K * K + K,).

    The squared distance of order m is p' G^m p - 2 p' q + a constant, with G = T T' taken to the
    power m entry by entry, and q_i the mean over the counted groups of the product of their T_ij.
    """
    of_transition, of_prior = torch.zeros_like(transition), torch.zeros_like(prior)
    gram = transition @ transition.T
    both = prior[:, None] * prior
    by_label = transition.T.contiguous()  # (noisy, true): a group's numbers are rows of it
    for m, counted in enumerate(counts, start=1):
        of_prior += 2 * (gram**m @ prior)
        slope = m * by_label @ (both * gram ** (m - 1))
        for labels, shares in counted.blocks(len(prior)):
            rows = [by_label[one] for one in labels.T]
            of_prior -= 2 * (shares @ _product(rows))
            of_product = -prior * shares[:, None]
            for place, label in enumerate(labels.T):
                others = [of_product, *rows[:place], *rows[place + 1 :]]
                slope.index_add_(0, label, _product(others))
        of_transition += 2 * slope.T
    parts = _softmax_slope(transition, of_transition), _softmax_slope(prior, of_prior)
    return torch.cat([part.flatten() for part in parts])


def _product(factors: list[Tensor]) -> Tensor:
    out = factors[0]
    for factor in factors[1:]:
        out = out * factor
    return out
