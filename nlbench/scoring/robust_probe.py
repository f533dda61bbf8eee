"""A linear head with the generalised cross-entropy, which large losses pull at less.

Source: Zhang, Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
Labels", NeurIPS 2018, arXiv 1805.07836, equation 6: (1 - p_y^q) / q.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nlbench.scoring.probe import Conditioner, Probe, _Problem, _step

_MAX_STEPS = 1000
_TOLERANCE, _GAIN, _TRIALS = 3e-5, 1e-10, 20


def gce_probe_probabilities(
    embeddings: Tensor, noisy_labels: Tensor, n_classes: int, q: float = 0.7, c: float = 1.0
) -> Tensor:
    """Return p(class | image) of a linear softmax head trained with the generalised cross-entropy.

    In-sample, L2 with inverse strength `c` on the weights and none on the intercept, by
    preconditioned L-BFGS over all samples from zero weights: no draw anywhere. The loss is not
    convex; from zero, every class starts with the same chance.

    Args:
        embeddings: (N, d).
        noisy_labels: (N,) int64 in [0, K).
        n_classes: K; a class that is absent gets probability 0.
        q: In (0, 1]; towards 0 it is the cross-entropy, at 1 the mean absolute error.
        c: Inverse L2 strength, > 0.

    Returns:
        (N, K) float32, rows sum to 1.
    """
    x = embeddings.detach().float()
    counts = torch.bincount(noisy_labels, minlength=n_classes)
    classes = counts.nonzero().squeeze(1)
    out = torch.zeros(len(x), n_classes, device=x.device)
    if len(classes) == 1:
        out[:, classes[0]] = 1.0
        return out
    ids = torch.zeros_like(counts)
    ids[classes] = torch.arange(len(classes), device=x.device)
    problem = _GceProblem(x, ids[noisy_labels], len(classes), q, c)
    out[:, classes] = problem.solved().probabilities(x)
    return out


class _GceProblem(_Problem):
    """The generalised cross-entropy in the changed variables of `nlbench.scoring.probe`."""

    def __init__(self, x: Tensor, labels: Tensor, n_classes: int, q: float, c: float) -> None:
        weights = torch.ones(len(x), device=x.device)
        super().__init__(x, labels, weights, n_classes, c, Conditioner(x))
        self.q = q

    def solved(self) -> Probe:
        from scipy.optimize import minimize

        n_classes = self.shape[1]
        # At zero weights every slope has the factor p_y^q = K^-q.
        tolerance = _TOLERANCE * n_classes**-self.q
        solution = minimize(
            self.loss_and_slope,
            np.zeros(self.shape[0] * n_classes),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_STEPS, "gtol": tolerance, "ftol": _GAIN, "maxls": _TRIALS},
        )
        weights, bias = self.weights_and_bias(solution.x)
        return Probe(weights.float(), bias.float())

    def _of_task(self, rows: slice, weights: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        loss = torch.zeros((), dtype=torch.float64, device=self.x.device)
        slope = torch.zeros(self.shape, device=self.x.device)
        for start in range(rows.start, rows.stop, _step(self.x)):
            part = slice(start, min(start + _step(self.x), rows.stop))
            x, own = self.x[part], self.labels[part, None]
            error = torch.softmax(torch.addmm(bias, x, weights), dim=1)
            of_label = error.gather(1, own).pow(self.q)
            loss += ((1 - of_label) / self.q).sum(dtype=torch.float64)
            error *= of_label
            error.scatter_add_(1, own, -of_label)
            slope[:-1].addmm_(x.T, error)
            slope[-1] += error.sum(dim=0)
        return loss, slope
