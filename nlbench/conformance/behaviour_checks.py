"""Checks of what a selector does with data: symmetries, edge cases, and finding noise."""

from __future__ import annotations

import torch

from nlbench.conformance.answer_checks import auroc
from nlbench.conformance.harness import (
    ConformanceFailure,
    case_for,
    random_order,
    require_answer,
    require_same,
    select,
)
from nlbench.conformance.observe import observe
from nlbench.conformance.planted import Plan
from nlbench.selector import AnySelector, Selection

MIN_AUROC = 0.95
MIN_PRECISION = 0.7


def check_permuted_samples(selector_class: type[AnySelector]) -> None:
    """Samples in another order get the same keep and score, each its own.

    The order of a data set says nothing about its labels; files sorted by class would give the
    answer away.
    """
    first, case = observe(selector_class).answer(), case_for(selector_class)
    order = random_order(case.data.n_samples, "samples")
    second = require_answer(select(selector_class, case.permuted(order)), case.data)
    require_same(
        Selection(keep=first.keep[order], score=first.score[order]),
        second,
        "the samples are in another order",
        "Break ties and draw folds by `data.uniform()`, which stays with the sample; sorting and "
        "`topk` break them by position. One way: `order = torch.argsort(data.uniform('ties'))`, "
        "then a stable sort of `score[order]`. `data.generator()` draws by position too.",
    )


def check_relabelled_classes(selector_class: type[AnySelector]) -> None:
    """Classes with other ids, their names and texts along, give the same keep and score.

    Class ids are arbitrary; a method that treats them as numbers wins on one data set by luck.
    """
    first, case = observe(selector_class).answer(), case_for(selector_class)
    other = case.relabelled(random_order(case.data.n_classes, "classes"))
    second = require_answer(select(selector_class, other), case.data)
    require_same(
        first,
        second,
        "the classes have other ids",
        "A class id is a name, not a number: use it as an index only.",
    )


def check_absent_class(selector_class: type[AnySelector]) -> None:
    """A class of the data set may have no samples at all.

    Small subsets and strong noise leave classes empty, and the run must survive that.
    """
    _require_answer_for(selector_class, Plan(class_counts=(130, 120, 0, 110, 100)))


def check_one_sample_class(selector_class: type[AnySelector]) -> None:
    """A class may have a single sample, too few to split or to fit.

    Rare classes of real data sets have a single sample after the validation split.
    """
    _require_answer_for(selector_class, Plan(class_counts=(130, 120, 1, 110, 100)))


def check_two_classes(selector_class: type[AnySelector]) -> None:
    """Two classes are enough.

    Many real data sets have two classes.
    """
    _require_answer_for(selector_class, Plan(class_counts=(220, 200), noise_rate=0.3))


def check_random_labels(selector_class: type[AnySelector]) -> None:
    """Labels may be random, so that there is nothing to find.

    Strong noise leaves nothing to find in some class, and a sweep must survive that.
    """
    _require_answer_for(selector_class, Plan(class_counts=(100,) * 5, noise_rate=0.8))


def check_identical_embeddings(selector_class: type[AnySelector]) -> None:
    """All images may have the same embedding.

    A weak encoder maps many images to one point, and distances become 0.
    """
    _require_answer_for(selector_class, Plan(features="identical"))


def check_constant_scores(selector_class: type[AnySelector]) -> None:
    """Images and texts may all be alike, so that every sample has the same score.

    Divisions by a range or a deviation become NaN where all scores are equal.
    """
    _require_answer_for(selector_class, Plan(class_counts=(100,) * 5, features="constant"))


def check_planted_noise_is_found(selector_class: type[AnySelector]) -> None:
    """The score finds planted symmetric noise of 40 % on well-separated classes.

    What is not found on easy data with a known answer is not found on real data.
    """
    selection, case = observe(selector_class).answer(), case_for(selector_class)
    ranking = auroc(selection.score, case.truth() == case.data.noisy_labels)
    if ranking <= MIN_AUROC:
        upside_down = " It looks upside down: higher must mean cleaner." if ranking < 0.5 else ""
        raise ConformanceFailure(
            f"score must find planted noise on well-separated classes (AUROC > {MIN_AUROC}), got "
            f"{ranking:.3f}.{upside_down} Look at `nlbench.conformance.planted_data()`."
        )


def check_keeps_clean_samples(selector_class: type[AnySelector]) -> None:
    """What is kept of well-separated classes is not empty and cleaner than the whole.

    The network trains on what is kept: an empty or inverted decision ruins it.
    """
    keep, case = observe(selector_class).answer().keep, case_for(selector_class)
    if not bool(keep.any()):
        raise ConformanceFailure(
            f"keep must not be empty on well-separated classes, got 0 of {len(keep)} samples: "
            "there is nothing to train on. Look at the threshold."
        )
    is_clean = (case.truth() == case.data.noisy_labels).to(torch.float64)
    precision = float(is_clean[keep].mean())
    if precision < MIN_PRECISION:
        raise ConformanceFailure(
            f"kept samples of well-separated classes must be at least {MIN_PRECISION:.0%} clean,"
            f" got {precision:.1%}; of all samples {float(is_clean.mean()):.1%} are. `keep` "
            "is True for the samples to train on."
        )


def _require_answer_for(selector_class: type[AnySelector], plan: Plan) -> None:
    case = case_for(selector_class, plan)
    require_answer(select(selector_class, case), case.data)
