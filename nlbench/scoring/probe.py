"""Multinomial logistic regression by preconditioned L-BFGS, a few passes over the features.

The problem is scikit-learn's ``LogisticRegression(C=c, class_weight="balanced")``: L2 on the
weights, none on the intercept. What makes it fast: features are centred (the intercept
takes the shift up, so the optimum is the same) and the variables are changed by the Cholesky factor
of the Hessian at zero, (1/K) cov(x) + penalty. Embeddings lie in a narrow cone, and plain L-BFGS
needs over a hundred steps to see past it; here it needs about ten, and stops nearer to the optimum.
docs/performance.md has the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.scoring.blocks import over_blocks, rows_from_blocks, sum_over_blocks

_MAX_STEPS = 1000
# Of the preconditioned gradient. Probabilities are then within about 1e-4 of the optimum's, where
# scikit-learn's own criterion leaves 1e-2 (measured at N = 50 000, d = 512).
_TOLERANCE = 3e-5
# Below this gain of the loss, relative, float32 sums are noise and a line search goes round in it.
_GAIN, _TRIALS = 1e-10, 10
# A block of rows and its logits stay in a core's cache; a task is worth its hand-over.
_ROWS, _ROWS_PER_TASK, _ROWS_ON_GPU = 1024, 8192, 65536


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe: logits are x @ weights + bias.

    Attributes:
        weights: (d, K) float32.
        bias: (K,) float32.
    """

    weights: Tensor
    bias: Tensor

    def probabilities(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return (N, K) float32, in `out` where that is given."""
        return rows_from_blocks(
            lambda rows: torch.softmax(torch.addmm(self.bias, x[rows], self.weights), dim=1),
            len(x),
            _step(x),
            x.device,
            out,
        )


class Conditioner:
    """The change of variables; it depends on the features alone, so that folds can share it.

    Args:
        x: (N, d) float32.
    """

    def __init__(self, x: Tensor) -> None:
        size = len(x), _task_rows(x), x.device
        self.mean = sum_over_blocks(lambda rows: x[rows].sum(dim=0), *size) / len(x)
        mean = self.mean.float()

        def scatter(rows: slice) -> Tensor:
            products = torch.zeros(x.shape[1], x.shape[1], device=x.device)
            for part in x[rows].split(_step(x)):
                centred = part - mean
                products.addmm_(centred.T, centred)
            return products

        self.covariance = sum_over_blocks(scatter, *size) / len(x)

    def root(self, n_classes: int, penalty: float) -> Tensor:
        """Return R (d, d) float64 with R R^T the inverse of the Hessian at zero."""
        hessian = self.covariance / n_classes
        hessian.diagonal().add_(penalty)
        factor = torch.linalg.cholesky(hessian)
        identity = torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
        return torch.linalg.solve_triangular(factor, identity, upper=False).T.contiguous()


def fit_probe(
    x: Tensor, labels: Tensor, sample_weights: Tensor, n_classes: int, c: float, by: Conditioner
) -> Probe:
    """Fit a probe.

    Args:
        x: (N, d) float32; neither copied nor changed.
        labels: (N,) int64 in [0, K); every class has a sample of positive weight.
        sample_weights: (N,) float32; 0 leaves a sample out.
        n_classes: K, at least 2.
        c: Inverse L2 strength.
        by: Conditioner of the same features.
    """
    from scipy.optimize import minimize

    problem = _Problem(x, labels, sample_weights, n_classes, c, by)
    solution = minimize(
        problem.loss_and_slope,
        np.zeros((x.shape[1] + 1) * n_classes),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_STEPS, "gtol": _TOLERANCE, "ftol": _GAIN, "maxls": _TRIALS},
    )
    weights, bias = problem.weights_and_bias(solution.x)
    return Probe(weights.float(), bias.float())


class _Problem:
    """The loss in the changed variables v (d + 1, K): weights = R v[:d], bias from v[d]."""

    def __init__(
        self,
        x: Tensor,
        labels: Tensor,
        sample_weights: Tensor,
        n_classes: int,
        c: float,
        by: Conditioner,
    ) -> None:
        self.x, self.labels, self.sample_weights = x, labels, sample_weights
        self.total = float(sample_weights.sum(dtype=torch.float64))
        self.penalty = 1 / (c * self.total)
        self.mean = by.mean
        self.root = by.root(n_classes, self.penalty)
        self.shape = (x.shape[1] + 1, n_classes)

    def weights_and_bias(self, flat: npt.NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        v = torch.from_numpy(flat).reshape(self.shape).to(self.x.device)
        weights = self.root @ v[:-1]
        return weights, v[-1] * self.shape[1] ** 0.5 - self.mean @ weights

    def loss_and_slope(
        self, flat: npt.NDArray[np.float64]
    ) -> tuple[float, npt.NDArray[np.float64]]:
        weights, bias = self.weights_and_bias(flat)
        weights32, bias32 = weights.float(), bias.float()
        loss = torch.zeros((), dtype=torch.float64, device=self.x.device)
        slope = torch.zeros(self.shape, dtype=torch.float64, device=self.x.device)
        for part_loss, part_slope in over_blocks(
            lambda rows: self._of_task(rows, weights32, bias32),
            len(self.x),
            _task_rows(self.x),
            self.x.device,
        ):
            loss += part_loss
            slope += part_slope
        slope /= self.total
        of_weights = slope[:-1] - self.mean[:, None] * slope[-1] + self.penalty * weights
        changed = torch.cat([self.root.T @ of_weights, slope[-1:] * self.shape[1] ** 0.5])
        value = loss / self.total + 0.5 * self.penalty * weights.square().sum()
        return float(value), changed.cpu().numpy().ravel()

    def _of_task(self, rows: slice, weights: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the slope (d + 1, K) of some rows, not averaged."""
        loss = torch.zeros((), dtype=torch.float64, device=self.x.device)
        slope = torch.zeros(self.shape, device=self.x.device)
        for start in range(rows.start, rows.stop, _step(self.x)):
            part = slice(start, min(start + _step(self.x), rows.stop))
            x, own = self.x[part], self.labels[part, None]
            share = self.sample_weights[part, None]
            logits = torch.addmm(bias, x, weights)
            logits -= logits.amax(dim=1, keepdim=True)
            of_label = logits.gather(1, own)
            error = logits.exp_()
            norm = error.sum(dim=1, keepdim=True)
            loss += ((norm.log() - of_label) * share).sum(dtype=torch.float64)
            error *= share / norm
            error.scatter_add_(1, own, -share)
            slope[:-1].addmm_(x.T, error)
            slope[-1] += error.sum(dim=0)
        return loss, slope


def _task_rows(x: Tensor) -> int:
    return _ROWS_PER_TASK if x.device.type == "cpu" else _ROWS_ON_GPU


def _step(x: Tensor) -> int:
    return _ROWS if x.device.type == "cpu" else _ROWS_ON_GPU
