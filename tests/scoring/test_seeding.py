"""Draws that take no generator: seeded by one, and the global state is as before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nlbench.scoring import seeded


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(seed: int) -> Tensor:
    with seeded(generator(seed)):
        return torch.nn.Linear(5, 3).weight.detach()


def test_equal_generators_give_equal_first_weights_and_others_do_not() -> None:
    before = weights(0)
    torch.rand(7)  # the global state has moved on
    assert torch.equal(weights(0), before)
    assert not torch.equal(weights(1), before)


def test_the_global_state_is_put_back() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(generator()):
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected)


def test_it_is_put_back_after_an_error_too() -> None:
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="inside"), seeded(generator()):
        torch.rand(1)
        raise ValueError("inside")
    assert torch.equal(torch.get_rng_state(), state)


def test_the_generator_moves_on_so_that_two_uses_differ() -> None:
    one = generator()
    with seeded(one):
        first = torch.rand(3)
    with seeded(one):
        second = torch.rand(3)
    assert not torch.equal(first, second)


def test_inside_it_can_be_nested() -> None:
    with seeded(generator(1)):
        alone = torch.rand(2)
    with seeded(generator(1)):
        with seeded(generator(2)):
            torch.rand(9)
        assert torch.equal(torch.rand(2), alone)
