"""A network whose forward and backward several processes share; all else sees an ordinary one.

Every process computes the loss of the whole batch, so that any loss, selector of batches or state
of samples is what it is in one process. In between, at the network, each takes its share of the
batch and hands its outputs to all. The gradient of the loss by these outputs is the same
everywhere; each process follows that of its own share through the network, and Lightning Fabric's
DDP adds them up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from nlbench.errors import PluginError
from nlbench.machine.ranks import Ranks, active
from nlbench.training.batch_statistics import WholeBatchNorm
from nlbench.training.own_draws import own_draws


def share_out(network: nn.Module) -> None:
    """Have the processes of this run share the network's steps; nothing where there is only one.

    It stays the same object with the same weights by the same names: whoever looks at its layers or
    saves it does so as before. In evaluation mode it is the network of this process alone, without
    any exchange: what is predicted of all samples is shared out by samples (`in_shares`), and a
    network that only labels a batch may be asked by whom it likes.
    """
    ranks = active()
    if ranks is None or "_sharing" in vars(network):
        return
    kind = type(network)
    if any(weights.requires_grad for weights in network.parameters()):
        vars(network)["_sharing"] = _Sharing(network, kind, ranks)
        network.__class__ = _with_shared_forward(kind)
    ranks.has_shared = True


def _with_shared_forward(kind: type[nn.Module]) -> type[nn.Module]:
    """Return a subclass whose forward is shared while it trains; its name is the same."""

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        sharing: _Sharing | None = vars(self).get("_sharing")
        if sharing is None or not self.training:
            return kind.forward(self, *args, **kwargs)
        return sharing.outputs(*args, **kwargs)

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


class _Sharing:
    """How a network's batches are shared."""

    def __init__(self, network: nn.Module, kind: type[nn.Module], ranks: Ranks) -> None:
        self._ranks = ranks
        self._plain = _Plain(network, kind)
        self._learning = ranks.fabric.setup_module(self._plain, move_to_device=False)

    def __deepcopy__(self, memo: object) -> None:
        """A copy of the network, as one that averages its weights, is a network of its own."""
        return

    def outputs(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs for the whole batch."""
        # DDP waits for the gradients of what went through it.
        module = self._learning if torch.is_grad_enabled() else self._plain
        batch = _batch_of(args, kwargs)
        if len(batch) < self._ranks.n:
            # Too few for a part each. The mean of what all have done is the same as of one.
            return module(batch)
        with WholeBatchNorm(self._ranks), own_draws(self._ranks):
            part = module(batch[self._ranks.share(len(batch))])
        return tree_map(lambda out: self._whole(out, len(batch)), part)

    def _whole(self, out: Any, n: int) -> Any:
        if not isinstance(out, Tensor):
            return out
        share = range(n)[self._ranks.share(n)]
        if out.ndim == 0 or len(out) != len(share):
            raise PluginError(
                "a network on several devices must return a row for each image, got "
                f"{tuple(out.shape)} for {len(share)} images. Run it on one device."
            )
        whole: Tensor = _Whole.apply(out, n, self._ranks)
        return whole


class _Plain(nn.Module):
    """The network as it was written."""

    def __init__(self, network: nn.Module, kind: type[nn.Module]) -> None:
        super().__init__()
        self.network, self._kind = network, kind

    def forward(self, batch: Tensor) -> Any:
        """Return its outputs for this process's part."""
        return self._kind.forward(self.network, batch)


class _Whole(torch.autograd.Function):
    """The rows of all processes, of which each goes on with the gradient of its own."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, n: int, ranks: Ranks) -> Tensor:
        ctx.n, ctx.ranks = n, ranks
        return ranks.whole(rows, n)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # DDP takes the mean over the processes, and the whole gradient is the sum.
        return grad[ctx.ranks.share(ctx.n)] * ctx.ranks.n, None, None


def _batch_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):
        raise PluginError(
            "a network on several devices must be called with a batch of images alone, got "
            f"{len(args) + len(kwargs)} arguments. Run it on one device."
        )
    return args[0]
