"""Which class is mistaken for which: superclasses, pairs, and what block5 is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nlbench.data.cifar100_classes import CIFAR100_CLASSES, CIFAR100_SUPERCLASSES
from nlbench.noise.class_maps import ASYMMETRIC_MAPS
from nlbench.noise.corrupt import corrupt
from nlbench.noise.human import _read

SUPERCLASS = {c: name for name, group in CIFAR100_SUPERCLASSES.items() for c in group}


def target(name: str) -> str:
    return CIFAR100_CLASSES[ASYMMETRIC_MAPS["cifar100"][CIFAR100_CLASSES.index(name)]]


def test_cifar100_has_a_hundred_classes_in_twenty_groups_of_five() -> None:
    assert len(set(CIFAR100_CLASSES)) == 100
    assert [len(group) for group in CIFAR100_SUPERCLASSES.values()] == [5] * 20
    assert list(CIFAR100_SUPERCLASSES) == sorted(CIFAR100_SUPERCLASSES)
    assert list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)
    known = {0: "apple", 11: "boy", 19: "cattle", 49: "mountain", 72: "seal", 99: "worm"}
    assert {i: CIFAR100_CLASSES[i] for i in known} == known


def test_cifar100_goes_round_in_a_circle_inside_the_superclass() -> None:
    for name in CIFAR100_CLASSES:
        assert SUPERCLASS[target(name)] == SUPERCLASS[name]
        ring, at = [name], target(name)
        while at != name:
            ring.append(at)
            at = target(at)
        assert len(ring) == 5
    assert (target("beaver"), target("whale")) == ("dolphin", "beaver")
    assert (target("lawn_mower"), target("tractor")) == ("rocket", "lawn_mower")


def test_superclasses_are_those_of_the_data_set(real_data: Path) -> None:
    file = real_data / "cifar_n" / "CIFAR-100_human.pt"
    if not file.is_file():
        pytest.skip(f"no '{file}'")
    content = _read(file)
    names = list(CIFAR100_SUPERCLASSES)
    own = [names.index(SUPERCLASS[name]) for name in CIFAR100_CLASSES]
    assert [own[k] for k in content["clean_label"].tolist()] == content["clean_coarse_label"]


def test_block5_leaves_the_superclass_in_94_of_100_classes() -> None:
    labels = corrupt(np.repeat(np.arange(100), 10), 100, "block5", 0.5).labels.reshape(100, 10)
    same = sum(
        SUPERCLASS[CIFAR100_CLASSES[max(set(row) - {k})]] == SUPERCLASS[CIFAR100_CLASSES[k]]
        for k, row in enumerate(labels.tolist())
    )
    assert same == 6


def test_animal10n_swaps_its_five_pairs() -> None:
    names = [
        "cat",
        "lynx",
        "wolf",
        "coyote",
        "cheetah",
        "jaguar",
        "chimpanzee",
        "orangutan",
        "hamster",
        "guinea-pig",
    ]
    pairs = {frozenset((names[a], names[b])) for a, b in ASYMMETRIC_MAPS["animal10n"].items()}
    assert len(ASYMMETRIC_MAPS["animal10n"]) == 10
    assert pairs == {
        frozenset(p.split())
        for p in ("cat lynx", "wolf coyote", "cheetah jaguar", "chimpanzee orangutan",
                  "hamster guinea-pig")
    }  # fmt: skip


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_human_labelled_images_have_the_map_of_their_images(name: str) -> None:
    assert ASYMMETRIC_MAPS[f"{name}n"] == ASYMMETRIC_MAPS[name]


def test_cifar100_noise_stays_in_the_superclass_and_keeps_its_rate() -> None:
    clean = np.arange(5000) % 100
    noisy = corrupt(clean, 100, "asymmetric", 0.4, class_map="cifar100")
    assert noisy.realized_rate == 0.4
    for before, after in zip(clean.tolist(), noisy.labels.tolist(), strict=True):
        assert SUPERCLASS[CIFAR100_CLASSES[before]] == SUPERCLASS[CIFAR100_CLASSES[after]]
