"""What an audit says: of each image, of classes and pairs of classes, of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Share:
    """A share of wrong labels in [0, 1], and the range that it lies in; `rates` says which."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassFinding:
    """One class: images that bear its label, how many are suspected, the share of wrong ones.

    `wrong` is None where the class is too small to be judged.
    """

    label: int
    n: int
    n_suspected: int
    wrong: Share | None


@dataclass(frozen=True)
class PairFinding:
    """Images labelled `given` that are suspected to be `suggested`."""

    given: int
    suggested: int
    n: int


@dataclass(frozen=True)
class Suspect:
    """An image whose label is suspected.

    Attributes:
        row: Its position among the samples.
        given, suggested: Class numbers.
        score: Higher = cleaner.
        dropped_by: The selectors that would drop it.
        reasons: Which criteria failed, in sentences.
        like_given, like_suggested: Rows of its nearest neighbours that bear either label.
    """

    row: int
    given: int
    suggested: int
    score: float
    dropped_by: tuple[str, ...]
    reasons: tuple[str, ...]
    like_given: tuple[int, ...] = ()
    like_suggested: tuple[int, ...] = ()


@dataclass(frozen=True)
class PictureProblem:
    """Something about pictures that is no wrong label.

    Attributes:
        kind: One of `KINDS`.
        rows: The images: one, or all of a group of copies, or examples of two classes.
        detail: What was measured, in a few words: "12 x 9 pixels", "ratio 9.4".
        labels: Classes that it is about, where it is about classes.
    """

    kind: str
    rows: tuple[int, ...]
    detail: str = ""
    labels: tuple[int, ...] = ()


KINDS: Mapping[str, str] = {
    "copies-two-labels": "Identical pictures with different labels",
    "copies-across-parts": "Identical pictures in train and test",
    "copies": "Identical pictures",
    "near-copies-two-labels": "Nearly identical pictures with different labels",
    "near-copies-across-parts": "Nearly identical pictures in train and test",
    "near-copies": "Nearly identical pictures",
    "blank": "Pictures of one colour or nearly so",
    "tiny": "Pictures much smaller than the others",
    "odd-shape": "Pictures of an odd shape",
    "dark": "Pictures that are nearly black",
    "light": "Pictures that are nearly white",
    "rotated": "Pictures that seem to lie on their side or upside down",
    "outlier": "Pictures that are like no class",
    "same-class": "Classes that nothing tells apart",
}


@dataclass(frozen=True, eq=False)
class Findings:
    """All of it; what the page shows.

    Attributes:
        wrong: The share of wrong labels overall; None where nothing could be judged.
        classes: One per class, by number.
        pairs: The most frequent first.
        suspects: The most suspicious first.
        not_judged: Rows of classes that are too small to be judged.
        problems: Of pictures, by kind.
        selectors: The names, with settings where they differ from the defaults.
        agreement: Share of judged images on which all selectors agree; None with one selector.
        encoder: Its full name; empty where embeddings or probabilities were given.
    """

    wrong: Share | None
    classes: tuple[ClassFinding, ...]
    pairs: tuple[PairFinding, ...]
    suspects: tuple[Suspect, ...]
    not_judged: tuple[int, ...]
    problems: tuple[PictureProblem, ...]
    selectors: tuple[str, ...]
    agreement: float | None
    encoder: str
    seconds: Mapping[str, float] = field(default_factory=dict)
