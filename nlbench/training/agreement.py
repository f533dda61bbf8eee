"""Whether the processes of a run still do the same; a difference is said, never averaged away."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from nlbench.errors import PluginError
from nlbench.machine.ranks import active
from nlbench.selector import Selection
from nlbench.training.learner import Learner

_CURES = (
    "the weights of its networks. The trainer takes gradients past the networks' own forward, or "
    "draws from a generator without the run's seed. Run it on one device.",
    "the samples to train on next. The selector or trainer draws from a generator without the "
    "run's seed: draw from torch.Generator().manual_seed(data.seed), or run it on one device.",
)


def require_same(epoch: int, learners: Sequence[Learner], current: Sequence[Selection]) -> None:
    """Refuse processes that have gone different ways; nothing where there is only one.

    Raises:
        PluginError: naming what differs, in all of them.
    """
    ranks = active()
    if ranks is None:
        return
    networks = [network for learner in learners for network in learner.networks]
    weights = [values for network in networks for values in network.parameters()]
    buffers = [values for network in networks for values in network.buffers()]
    chosen = [values for each in current for values in _parts(each)]
    own = torch.stack([_digest([*weights, *buffers]), _digest(chosen)])
    for i, other in enumerate(ranks.each(own.to(ranks.device))):
        for what, is_same in zip(_CURES, (other == own.to(ranks.device)).tolist(), strict=True):
            if not is_same:
                raise PluginError(
                    f"after epoch {epoch} the processes of this run differ ({i} from {ranks.index},"
                    f" of {ranks.n}) in {what}"
                )


def _parts(selection: Selection) -> Iterable[Tensor]:
    named = (
        selection.keep, selection.labels, selection.weights, selection.soft_labels,
        selection.loss_weights,
    )  # fmt: skip
    return [values for values in named if values is not None]


def _digest(tensors: Iterable[Tensor]) -> Tensor:
    """Return a checksum of all bits, (): enough to tell two ways apart."""
    total = 0
    for values in tensors:
        flat = values.detach().cpu().contiguous().flatten()
        total = zlib.crc32(flat.view(torch.uint8).numpy().data, total)
    return torch.tensor(total)
