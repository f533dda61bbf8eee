"""The bfloat16 screen before the neighbours: never another answer than float32's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nlbench.scoring import knn_probabilities, neighbours
from nlbench.scoring.screen import QUERIES, Screen


def cone(n: int, d: int, seed: int = 0, spread: float = 0.7) -> Tensor:
    """Return unit rows (n, d) that share a direction, as CLIP's do."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.nn.functional.normalize(torch.randn(1, d, generator=generator), dim=1)
    rows = shared + spread * torch.randn(n, d, generator=generator) / d**0.5
    return torch.nn.functional.normalize(rows, dim=1)


def similarities(x: Tensor, rows: slice) -> Tensor:
    """Return float64 similarities (B, N) of some rows to all others, without their own."""
    found = x[rows].double() @ x.double().T
    found[torch.arange(len(found)), torch.arange(rows.start, rows.stop)] = -torch.inf
    return found


def assert_nearest(x: Tensor, rows: slice, k: int, got: Tensor) -> None:
    """Hold the similarities of what was found to the k largest ones; ties may go either way."""
    exact = similarities(x, rows)
    assert all(len(set(line.tolist())) == k for line in got)
    found = exact.gather(1, got).sort(dim=1, descending=True).values
    torch.testing.assert_close(found, exact.topk(k, dim=1).values, rtol=0, atol=3e-7)


@pytest.mark.parametrize(
    ("n", "d", "k"),
    [
        (2000, 64, 20),
        (2003, 61, 1),  # neither whole groups of samples nor a whole step of the product
        (20_000, 32, 50),  # more than one tile
    ],
)
def test_screened_neighbours_are_the_exact_ones(n: int, d: int, k: int) -> None:
    x = cone(n, d)
    search = Screen(x)
    for rows in (slice(0, QUERIES), slice(n - 37, n)):
        got = search.nearest(rows, k)
        assert got is not None
        assert_nearest(x, rows, k, got)


def test_bound_on_the_rounding_holds_for_every_pair() -> None:
    """Whatever is called sure rests on it."""
    x = cone(3000, 48, seed=3)
    search, rows, k = Screen(x), slice(100, 200), 50
    candidates = search._candidates(rows, k)
    assert candidates is not None
    query, sample, value = candidates
    mean = search._mean.double()
    centred = x.double() - mean
    exact = (centred[rows] @ centred.T)[query, sample] + (centred @ mean)[sample]
    bound = search._error(query + rows.start, sample) + 2.0**-9 * 1.01 * value
    assert len(query) >= 100 * k
    assert bool(((value - exact).abs() <= bound).all())
    # It is no idle one: some pairs come within a fifth of it.
    assert float(((value - exact).abs() / bound).max()) > 0.2


def test_nearly_equal_similarities_are_told_apart_in_float32() -> None:
    """Differences of a thousandth of bfloat16's last place; rounded alone, they would be lots."""
    generator = torch.Generator().manual_seed(1)
    centre = cone(1, 64)
    rows = cone(4000, 64, seed=2)
    rows[:600] = centre + 1e-4 * torch.randn(600, 64, generator=generator)
    x = torch.nn.functional.normalize(rows, dim=1)
    got = Screen(x).nearest(slice(0, 128), 25)
    assert got is not None
    assert_nearest(x, slice(0, 128), 25, got)


def test_copies_of_one_image_are_neighbours_of_each_other() -> None:
    x = cone(4096, 32)
    x[1000:1010] = x[0]
    got = Screen(x).nearest(slice(0, 1), 10)
    assert got is not None
    assert sorted(got[0].tolist()) == list(range(1000, 1010))


def test_screen_declines_where_neighbours_are_no_nearer_than_the_average() -> None:
    x = cone(2000, 64)
    assert Screen(x).nearest(slice(0, 64), 1500) is None


def test_votes_are_the_same_with_and_without_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any machine: a CPU without matrix tiles only takes longer for the rounded product."""
    x, y = cone(9000, 32), torch.arange(9000) % 7
    monkeypatch.setattr(neighbours, "has_bfloat16_tiles", lambda: False)
    plain = knn_probabilities(x, y, 7, k=40)
    used: list[int] = []
    original = Screen.nearest

    def counted(self: Screen, rows: slice, k: int) -> Tensor | None:
        used.append(k)
        return original(self, rows, k)

    monkeypatch.setattr(Screen, "nearest", counted)
    monkeypatch.setattr(neighbours, "has_bfloat16_tiles", lambda: True)
    torch.testing.assert_close(knn_probabilities(x, y, 7, k=40), plain)
    assert used


@pytest.mark.slow
def test_neighbours_that_no_screen_can_tell_are_searched_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sample in the middle of all others has nobody nearer than the average."""
    monkeypatch.setattr(neighbours, "has_bfloat16_tiles", lambda: True)
    x = torch.eye(3).repeat_interleave(4000, dim=0)
    x[0] = 1 / 3**0.5
    y = torch.arange(len(x)) // 4000
    assert Screen(x).nearest(slice(0, 1), 3) is None
    got = knn_probabilities(x, y, 3, k=3)
    assert bool((got.argmax(dim=1) == y)[1:].all())


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_screened_votes_have_the_same_bits_on_any_number_of_threads(n_threads: int) -> None:
    x = cone(10_000, 32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = Screen(x).nearest(slice(0, QUERIES), 30)
        torch.set_num_threads(n_threads)
        got = Screen(x).nearest(slice(0, QUERIES), 30)
    finally:
        torch.set_num_threads(before)
    assert expected is not None
    assert got is not None
    assert torch.equal(got, expected)
