"""What several processes do at one network, seen from inside: `python device_facts.py OUT`."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nlbench.machine.joining import joined
from nlbench.machine.ranks import Ranks, acting_as
from nlbench.training.evaluate import predict
from nlbench.training.shared_network import share_out

SIZES = (1, 2, 3, 7, 600)


class Counting(nn.Module):
    """Predicts an image's number, and counts the images that it saw."""

    seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return images.flatten(1)[:, :1] * 2


def predictions(ranks: Ranks) -> dict[str, Any]:
    """Return whether all predictions are in order, and how many images each process saw."""
    facts = {}
    for n in SIZES:
        network, images = Counting(), torch.arange(n).float().view(n, 1, 1, 1)
        right = torch.equal(predict(network, images, False), images.view(n, 1) * 2)
        seen = torch.stack(ranks.each(torch.tensor(network.seen))).tolist()
        facts[str(n)] = [right, seen]
    return facts


def make_network(dropout: float = 0.0, affine: bool = True) -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4, affine=affine),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.BatchNorm1d(5),
        nn.Dropout(dropout),
    ]
    return nn.Sequential(*layers)


def steps(ranks: Ranks, n: int, affine: bool) -> float:
    """Return how far two steps on batches of n are from those of one process.

    In float64: what is left there is rounding, and nothing else.
    """
    draws = torch.Generator().manual_seed(1)
    batches = torch.randn(2, n, 2, 4, 4, generator=draws, dtype=torch.float64)
    results = []
    for together in (False, True):
        network = make_network(affine=affine).double()
        with acting_as(ranks if together else None):
            share_out(network)
        network.train()
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        for batch in batches:
            # Twice, and once without gradients, before one backward.
            with torch.no_grad():
                target = network(batch)
            loss = (network(batch) ** 3).mean() + ((network(batch.flip(0)) - target) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        results.append(torch.cat([v.flatten().double() for v in network.state_dict().values()]))
    return float((results[0] - results[1]).abs().max())


def draws(ranks: Ranks) -> dict[str, bool]:
    """Return what dropout draws, and where the generators are afterwards."""
    kept, plain = make_network(0.5), make_network()
    for network in (kept, plain):
        share_out(network)
        network.train()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    plain(torch.ones(6, 2, 4, 4))
    unmoved = torch.equal(before, torch.get_rng_state())
    masks = kept(torch.randn(60, 2, 4, 4)) == 0
    parts = [masks[ranks.share(60, i)] for i in range(ranks.n)]
    after = torch.stack(ranks.each(torch.get_rng_state()))
    return {
        "generator unmoved without draws": unmoved,
        "masks differ": not torch.equal(parts[0], parts[1]),
        "generators are the same afterwards": bool((after == after[0]).all()),
        "a copy is a network of its own": copy.deepcopy(kept).eval()(torch.ones(1, 2, 4, 4)).shape
        == (1, 5),
        "names of weights are the same": list(kept.state_dict()) == list(plain.state_dict()),
    }


def main(out: str) -> None:
    ranks = joined("cpu")
    assert ranks is not None
    with acting_as(ranks):
        facts = {
            "predictions": predictions(ranks),
            "steps": {f"{n}": steps(ranks, n, n % 2 == 0) for n in (2, 3, 7, 8, 32)},
            "draws": draws(ranks),
            "sum": ranks.to_first(ranks.index),
        }
    if ranks.is_first:
        Path(out).write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1])
