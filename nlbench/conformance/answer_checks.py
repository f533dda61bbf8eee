"""Checks of the form of an answer, and of what a selector leaves behind."""

from __future__ import annotations

import json

import torch

from nlbench.conformance.harness import (
    ConformanceFailure,
    case_for,
    dynamics_for,
    require_answer,
    select,
)
from nlbench.conformance.observe import observe, require_kept_surroundings
from nlbench.conformance.planted import Plan
from nlbench.conformance.reach import path_to_labels
from nlbench.errors import did_you_mean
from nlbench.plugins.registry import components
from nlbench.selector import AnySelector, BoundSelector

UNINFORMATIVE = Plan(class_counts=(120,) * 5, features="uninformative")


def check_answer(selector_class: type[AnySelector]) -> None:
    """The answer is a Selection of one finite value per sample, on the data's device.

    Training and every metric go sample by sample: a missing or NaN value has no place in them.
    """
    observe(selector_class).answer()


def check_device(selector_class: type[AnySelector]) -> None:
    """The answer is on the data's device, CUDA where there is one.

    An answer on another device stops the run on a GPU, where nobody saw it on a CPU.
    """
    if not torch.cuda.is_available():
        observe(selector_class).answer()
        return
    case = case_for(selector_class).on("cuda")
    require_answer(select(selector_class, case), case.data)


def check_ranks_all_samples(selector_class: type[AnySelector]) -> None:
    """The score ranks all samples, also among those not kept.

    AUROC and AUPRC are measured on the score alone; most methods differ only in the threshold.
    """
    selection = observe(selector_class).answer()
    groups = {"all": selection.score}
    if not selector_class.is_bound:  # which may know no more than clean and not clean
        groups["all dropped"] = selection.score[~selection.keep]
    for name, scores in groups.items():
        if len(scores) > 1 and bool((scores == scores[0]).all()):
            raise ConformanceFailure(
                f"Selection.score must rank all samples, got one value for {name} "
                f"{len(scores)} samples. Return what `keep` was cut from (a probability, a margin, "
                "a negative loss), not `keep` itself."
            )


def check_diagnostics_are_json(selector_class: type[AnySelector]) -> None:
    """The diagnostics are JSON without NaN, so that they fit into the record.

    The record is JSON, so that anyone can read it; what does not fit in fails the run at its end.
    """
    diagnostics = observe(selector_class).answer().diagnostics
    try:
        json.dumps(dict(diagnostics), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConformanceFailure(
            f"Selection.diagnostics must be JSON-serialisable, got {error}. Use `.item()` or "
            "`.tolist()` for tensors and arrays, and None for a number that does not exist."
        ) from error


def check_inputs_untouched(selector_class: type[AnySelector]) -> None:
    """Labels, features, images and dynamics are the same after the call as before.

    Trainer and metrics use the same tensors: a selector that changes them changes its own result.
    """
    written = observe(selector_class).written
    if written:
        raise ConformanceFailure(
            f"select must leave its inputs as they are, but wrote into {', '.join(written)}, which "
            "others see too. Work on a `.clone()`, without in-place operations."
        )


def check_same_seed_same_answer(selector_class: type[AnySelector]) -> None:
    """Two fresh instances give bit-identical answers to the same data and seed.

    A record names the command that repeats it, and a repeated run must give the same numbers.
    """
    first = observe(selector_class).answer()
    second = select(selector_class, case_for(selector_class))
    for name in ("keep", "score", "labels", "weights"):
        one, two = getattr(first, name), getattr(second, name)
        if (one is None) != (two is None) or (one is not None and not torch.equal(one, two)):
            raise ConformanceFailure(
                f"Selection.{name} must be bit-identical for the same data and seed, got two "
                "different ones. Draw only from `data.generator()` or `data.uniform()`, hand "
                "scikit-learn a `random_state`, and make a network's first weights inside "
                "`with nlbench.scoring.seeded(data.generator('weights')):`."
            )


def check_global_random_state(selector_class: type[AnySelector]) -> None:
    """The global random states stay as they are: no draw from them, no seeding of them.

    Seeding or drawing from it changes initial weights and batch order, which are the same for every
    selector.
    """
    changed = observe(selector_class).random_states
    if changed:
        raise ConformanceFailure(
            f"select must not touch the global random state of {' and '.join(changed)}, which "
            "affects the rest of the run. Use `data.generator()` or `data.uniform()`, hand "
            "scikit-learn a `random_state`, and wrap what only draws globally, such as the first "
            "weights of `torch.nn.Linear`: `with nlbench.scoring.seeded(data.generator()):` is "
            "`torch.random.fork_rng` with a seed."
        )


def check_surroundings(selector_class: type[AnySelector]) -> None:
    """Torch, NumPy and the process are afterwards as they were before.

    A switch that is left behind changes the numbers of all that run after it, under their names.
    """
    require_kept_surroundings(observe(selector_class).surroundings, "the selector")


def check_encoders_exist(selector_class: type[AnySelector]) -> None:
    """Every encoder that the selector asks for by default is one, or a role of the protocol.

    Planted data answers for any name; a real run would stop at an encoder that does not exist.
    """
    roles = ("image-text", "image")
    for name in sorted(observe(selector_class).encoders):
        kind, known = name.partition(":")[0], usable_encoders()
        if name not in roles and kind not in known:
            raise ConformanceFailure(
                f"an encoder must be a role ({', '.join(map(repr, roles))}) or the full name of "
                f"one, got {name!r}. {did_you_mean(kind, [*roles, *known])} "
                "See `nlbench list encoders`."
            )


def check_declares_knowledge(selector_class: type[AnySelector]) -> None:
    """What the selector uses beyond the noisy labels is in its knowledge.

    Methods that know more are not compared in silence with methods that know less.
    """
    declared = selector_class().knowledge_used()
    missing = sorted(observe(selector_class).knowledge - set(declared))
    if missing:
        raise ConformanceFailure(
            f"`knowledge` must name all that the selector uses beyond noisy labels, got "
            f"{declared!r} without {', '.join(map(repr, missing))}: add it, so that the "
            "leaderboard can show it."
        )


def check_cannot_reach_clean_labels(selector_class: type[AnySelector]) -> None:
    """The selector is not a bound, and nothing passed to it leads to the clean labels.

    A method that can see the truth measures nothing.
    """
    if issubclass(selector_class, BoundSelector):
        raise ConformanceFailure(
            "a selector must not see the clean labels, got a BoundSelector, which does. If it "
            "is meant as a bound, name this check in `conformance_exempt` with the reason."
        )
    case = case_for(selector_class, UNINFORMATIVE)
    inputs = [case.data, *dynamics_for(selector_class, case.data)]
    path = path_to_labels(inputs, case.truth(), case.data.noisy_labels)
    if path is not None:
        raise ConformanceFailure(
            f"clean labels must not be reachable from a selector's inputs, found them at {path}."
        )


def check_does_not_peek(selector_class: type[AnySelector]) -> None:
    """Where features say nothing about the labels, the noise is not found either.

    A method that finds noise which its inputs cannot tell has the truth from somewhere.
    """
    if issubclass(selector_class, BoundSelector):
        return
    case = case_for(selector_class, UNINFORMATIVE)
    clean_labels = case.truth()  # the bait: a walk over callers' frames would find it here
    score = require_answer(select(selector_class, case), case.data).score
    ranking = auroc(score, clean_labels == case.data.noisy_labels)
    if abs(ranking - 0.5) > 0.15:
        raise ConformanceFailure(
            "score must tell nothing about the noise where the features do not (AUROC 0.5 ± 0.15),"
            f" got {ranking:.3f}: the clean labels come from elsewhere than `data`."
        )


def usable_encoders() -> list[str]:
    """Return the kinds of encoders that can be used."""
    return [name for name, each in components("encoders").items() if not each.problem]


def auroc(score: torch.Tensor, is_clean: torch.Tensor) -> float:
    """Return how well the score ranks clean samples above noisy ones."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_clean.cpu().numpy(), score.double().cpu().numpy()))
