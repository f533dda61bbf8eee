"""Which class is mistaken for which: the maps of asymmetric noise, by data set."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral

from nlbench.data.cifar100_classes import CIFAR100_CLASSES, CIFAR100_SUPERCLASSES
from nlbench.errors import ConfigError


def _next_in_superclass() -> dict[int, int]:
    class_id = {name: i for i, name in enumerate(CIFAR100_CLASSES)}
    groups = [sorted(class_id[c] for c in group) for group in CIFAR100_SUPERCLASSES.values()]
    return {
        source: group[(i + 1) % len(group)] for group in groups for i, source in enumerate(group)
    }


# CIFAR-10: Patrini et al., CVPR 2017 (arXiv 1609.03683). CIFAR-100: the next class in a circle
# inside the superclass (same paper). ANIMAL-10N: its five pairs of look-alikes (Song et al., ICML
# 2019), in the published order cat, lynx, wolf, coyote, cheetah, jaguar, chimpanzee, orangutan,
# hamster, guinea pig. digits: ours, strokes that one careless movement turns into the other;
# 0 and 2 are left alone.
ASYMMETRIC_MAPS: dict[str, dict[int, int]] = {
    "digits": {1: 7, 7: 1, 3: 8, 8: 3, 4: 9, 9: 4, 5: 6, 6: 5},
    "cifar10": {9: 1, 2: 0, 4: 7, 3: 5, 5: 3},
    "cifar100": _next_in_superclass(),
    "animal10n": {0: 1, 1: 0, 2: 3, 3: 2, 4: 5, 5: 4, 6: 7, 7: 6, 8: 9, 9: 8},
}
# CIFAR-N are the same images.
ASYMMETRIC_MAPS["cifar10n"] = ASYMMETRIC_MAPS["cifar10"]
ASYMMETRIC_MAPS["cifar100n"] = ASYMMETRIC_MAPS["cifar100"]


def resolved_map(
    class_map: Mapping[int, int] | str | None, n_classes: int, dataset: str | None = None
) -> dict[int, int]:
    """Return the map of look-alike classes {source: target}, checked.

    Args:
        class_map: A map, or the name of one; None for the one of the data set.
        n_classes: K.
        dataset: Name of the data set, None where it is not known.

    Raises:
        ConfigError: if there is no such map, or it sends a class to itself or out of range.
    """
    if class_map is None and dataset is not None and dataset not in ASYMMETRIC_MAPS:
        raise ConfigError(
            f"there is no map of look-alike classes for {dataset!r}: set one with "
            "--set 'noise.class_map={0: 1, 1: 0}', or use --noise pair."
        )
    if class_map is None or isinstance(class_map, str):
        name = class_map or dataset
        if name not in ASYMMETRIC_MAPS:
            raise ConfigError(
                "asymmetric noise needs to know which class is mistaken for which: `class_map` "
                f"must be {{source: target}} or one of {sorted(ASYMMETRIC_MAPS)}, got {name!r}. "
                "For the next class in a circle, use noise 'pair'."
            )
        class_map = ASYMMETRIC_MAPS[name]
    if not isinstance(class_map, Mapping) or not class_map:
        raise ConfigError(f"`class_map` must be {{source: target, ...}}, got {class_map!r}.")
    for source, goal in class_map.items():
        whole = isinstance(source, Integral) and isinstance(goal, Integral)
        if not whole or source == goal or not (0 <= source < n_classes and 0 <= goal < n_classes):
            raise ConfigError(
                f"`class_map` must send classes in [0, {n_classes}) to other classes, "
                f"got {source!r} -> {goal!r}."
            )
    return {int(source): int(goal) for source, goal in class_map.items()}
