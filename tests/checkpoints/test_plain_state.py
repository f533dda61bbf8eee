"""Live state to plain data, through torch's safe loader, and back."""

from __future__ import annotations

import io
import random
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nlbench.checkpoints import Resumable, ResumeError, restored, saved, stateful_parts
from nlbench.selector import Selection


def carried(value: Any, live: Any = None) -> Any:
    stream = io.BytesIO()
    torch.save(saved(value), stream)
    stream.seek(0)
    return restored(torch.load(stream, weights_only=True), live)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 2**80, -0.0, float("inf"), 1 + 2j, "ä\ud800", b"\x00\xff", (), (1, (2,)), [[]],
        {1: "a", (2, 3): {"b"}}, frozenset({1}), OrderedDict(b=1, a=2), Counter("aab"),
        deque([1, 2], maxlen=2), torch.Size([2, 3]), torch.device("cpu"), torch.float16,
        np.float32(0.1), np.int64(3), np.str_("x"), np.bool_(True),
    ],
    ids=repr,
)  # fmt: skip
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    back = carried(value)
    assert back == value and type(back) is type(value)
    assert repr(back) == repr(value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.uint16).reshape(2, 3), np.zeros((0, 3)), np.full(2, np.nan),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(["a", "bc"]), np.arange(5)[::-1],
        np.array(["2026-01-01"], dtype="M8[D]"), np.arange(3, dtype=">i4"), np.array(3.5),
        np.array([True, False]),
    ],
    ids=lambda array: f"{array.dtype.str} {array.shape}",
)  # fmt: skip
def test_arrays_come_back_as_they_were(array: Any) -> None:
    back = carried(array)
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype
    if array.flags.forc:
        assert back.flags.f_contiguous == array.flags.f_contiguous
    back[...] = back  # it can be written into


def test_tensors_keep_their_layout_and_what_they_share() -> None:
    base = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    back = carried({"base": base, "row": base[0, 1], "again": base})
    assert torch.equal(back["base"], base) and back["base"].stride() == base.stride()
    back["base"].zero_()
    assert not back["row"].any() and back["again"] is back["base"]


def test_one_object_in_two_places_stays_one() -> None:
    shared = [1]
    back = carried({"a": shared, "b": (shared,)})
    back["a"].append(2)
    assert back["b"][0] == [1, 2]


def test_generators_go_on_with_the_same_draws() -> None:
    made = {
        "torch": torch.Generator().manual_seed(1), "numpy": np.random.default_rng(2),
        "philox": np.random.Generator(np.random.Philox(3)), "old": np.random.RandomState(4),
        "python": random.Random(5),  # noqa: S311
    }  # fmt: skip
    for generator in (made["numpy"], made["philox"], made["old"]):
        generator.standard_normal(3)
    made["python"].gauss(0, 1)  # keeps the second one of a pair
    back = carried(made)
    assert torch.equal(
        torch.rand(3, generator=back["torch"]), torch.rand(3, generator=made["torch"])
    )
    for name in ("numpy", "philox", "old"):
        assert back[name].standard_normal(3).tolist() == made[name].standard_normal(3).tolist()
    assert [back["python"].gauss(0, 1) for _ in "ab"] == [made["python"].gauss(0, 1) for _ in "ab"]


def test_generators_that_others_hold_are_set_in_place() -> None:
    old, new = torch.Generator().manual_seed(1), torch.Generator().manual_seed(9)
    torch.rand(5, generator=old)
    assert carried([old], [new])[0] is new
    assert torch.equal(new.get_state(), old.get_state())


def test_selections_come_back() -> None:
    keep = torch.tensor([True, False])
    back = carried(Selection(keep, keep.double(), labels=keep.long(), diagnostics={"n": [1]}))
    assert isinstance(back, Selection) and torch.equal(back.labels, keep.long())
    assert back.diagnostics == {"n": [1]} and back.weights is None


class Learning(Resumable):
    """A network with momentum, a schedule, and something learned outside of it."""

    def __init__(self, seed: int) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        self.extra = torch.zeros(2, requires_grad=True)
        self.optimiser = torch.optim.Adam([*self.network.parameters(), self.extra], lr=0.1)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimiser, 2)
        self.draws = torch.Generator().manual_seed(seed)

    def step(self) -> float:
        batch = torch.rand(4, 3, generator=self.draws)
        loss = self.network(batch).square().mean() + (self.extra - 1).square().sum()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())


def test_what_learns_goes_on_bit_by_bit() -> None:
    one = Learning(0)
    for _ in range(3):
        one.step()
    one.network[1].eval()
    one.network[0].weight.requires_grad_(False)
    other = carried(one, Learning(1))
    assert [other.step() for _ in range(4)] == [one.step() for _ in range(4)]
    assert not other.network[1].training and other.network[2].training
    assert other.optimiser.param_groups[0]["params"][-1] is other.extra


def test_what_is_only_looked_at_is_not_written_into() -> None:
    labels = torch.arange(3)
    back = carried({"own": torch.tensor([7, 7, 7])}, {"own": labels})
    assert back["own"].tolist() == [7, 7, 7] and labels.tolist() == [0, 1, 2]


@dataclass(frozen=True, slots=True)
class Slotted(Resumable):
    path: Path = Path("a")
    seen: list[int] = field(default_factory=list)


def test_frozen_dataclasses_with_slots_are_resumed() -> None:
    one = Slotted(Path("b"))
    one.seen.append(1)
    assert carried(one, Slotted()) == one


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"a": [object()]}, r"the state\['a'\]\[0\] cannot be saved: it is object"),
        ((torch.ones(1, requires_grad=True) * 2), "detach"),
        (np.array([object()]), "ndarray"),
        (iter([1]), "iterator"),
        (defaultdict(lambda: 1), "defaultdict of <lambda>"),
    ],
    ids=["object", "graph", "array of objects", "iterator", "default of a lambda"],
)
def test_what_cannot_be_saved_is_named(value: Any, word: str) -> None:
    with pytest.raises(ResumeError, match=word):
        saved(value)


def test_what_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ResumeError, match="contains itself"):
        saved(loop)


def test_a_generator_whose_children_would_come_twice_is_refused() -> None:
    generator = np.random.default_rng(0)
    generator.spawn(1)
    with pytest.raises(ResumeError, match="Generator"):
        saved(generator)


@pytest.mark.parametrize("live", [None, nn.Linear(2, 3)])
def test_a_network_that_is_not_made_again_is_refused(live: Any) -> None:
    with pytest.raises(ResumeError, match=r"not made any more|size mismatch"):
        carried(nn.Linear(3, 2), live)


def test_parts_with_a_state_of_their_own_are_named() -> None:
    assert stateful_parts({"a": [nn.Linear(1, 1)], "b": 1}) == {"the state['a'][0]"}
