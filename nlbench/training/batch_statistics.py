"""Batch normalisation over a batch whose parts are in several processes.

`torch.nn.SyncBatchNorm` does the same on GPUs and refuses CPUs (torch 2.14), where tests run; it
would also take the place of the network's own layers, which may do more, as timm's do. So the
function that all of them call is caught instead: same layers, same names of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

from nlbench.machine.ranks import Ranks


class WholeBatchNorm(TorchFunctionMode):
    """Inside, layers that normalise by a batch do so by all of it, not by this process's part."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, or ours in its place."""
        if func is batch_norm:
            return _batch_norm(self._ranks, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    ranks: Ranks,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do what `torch.nn.functional.batch_norm` does, for x (b, C, ...) of (B, C, ...)."""
    if not training:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    mean, var, n = _statistics(ranks, x.detach())
    if running_mean is not None and running_var is not None:
        running_mean.mul_(1 - momentum).add_(mean.to(running_mean.dtype), alpha=momentum)
        unbiased = (var * (n / (n - 1))).to(running_var.dtype)
        running_var.mul_(1 - momentum).add_(unbiased, alpha=momentum)
    y: Tensor = _Normalised.apply(x, weight, bias, mean, var, n, eps, ranks)
    return y


def _statistics(ranks: Ranks, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,) and variance (C,) of the whole batch, and its values per channel ()."""
    # The kernel of torch's own layer, which gives the variance without Bessel's correction.
    mean, var = torch.batch_norm_update_stats(_at_least_float32(x), None, None, 0.0)
    count = torch.full_like(mean[:1], x.numel() // x.shape[1])
    parts = torch.stack(ranks.each(torch.cat([mean, var, count])))
    means, variances, counts = parts.split([len(mean), len(mean), 1], dim=1)
    share = counts / counts.sum()
    mean = (share * means).sum(dim=0)
    # The variance between the parts is added to that within them: no difference of large squares.
    var = (share * (variances + (means - mean) ** 2)).sum(dim=0)
    return mean, var, counts.sum()


class _Normalised(torch.autograd.Function):
    """x normalised by statistics that depend on the x of every process."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor,
        n: Tensor, eps: float, ranks: Ranks,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), n)
        ctx.ranks = ranks
        return batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, n = ctx.saved_tensors
        wide, own = _at_least_float32(x), _at_least_float32(grad)
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            own, wide, None, None, None, mean, scale, True, 0.0, [False, True, True]
        )
        # What each value does to mean and variance, and they to all values.
        sums = ctx.ranks.total(torch.stack([of_bias, of_weight])) / n
        slope = scale if weight is None else scale * weight
        # slope * (own - sums[0] - normalised * sums[1]), in two passes.
        ones = torch.ones_like(mean)
        through = batch_norm(wide, mean, ones, -slope * scale * sums[1], -slope * sums[0], eps=0.0)
        through.addcmul_(own, slope.view(1, -1, *[1] * (x.ndim - 2)))
        of_x = through.to(x.dtype)
        if weight is None:
            return of_x, *[None] * 7
        return of_x, of_weight.to(weight.dtype), of_bias.to(weight.dtype), *[None] * 5


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
