"""The planted image-text model and its views: selectors that need them can be checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from nlbench.conformance import (
    Plan,
    check_selector,
    path_to_labels,
    planted_clean_labels,
    planted_data,
)
from nlbench.conformance.harness import Case, random_order
from nlbench.errors import ConfigError
from nlbench.selector import Selection, Selector, TrainingData

PLANS = {
    "separable": Plan(),
    "uninformative": Plan(features="uninformative"),
    "identical": Plan(features="identical"),
    "constant": Plan(features="constant"),
    "absent class": Plan(class_counts=(60, 0, 50, 1)),
    "two classes": Plan(class_counts=(60, 50)),
    "names of two words": Plan(class_counts=(12,) * 12),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


# Two selectors that could not be checked on plain arrays.


@dataclass(frozen=True)
class LearnsAContext(Selector):
    """Two learned tokens before the class names, by ten steps on all samples."""

    steps: int = 10
    lr: float = 0.02

    knowledge = ("class names", "image-text pre-training")

    def select(self, data: TrainingData) -> Selection:
        model = data.prompt_model()
        images = model.image_features(data.images(torch.arange(data.n_samples)))
        tokens = model.token_embeddings([f"{name}." for name in data.class_names or ()], 2)
        start = 0.02 * torch.randn(2, model.width, generator=data.generator("context"))
        context = start.to(data.device).requires_grad_()

        def logits() -> Tensor:
            texts = model.encode_tokens(tokens.with_context(context), tokens)
            return model.logit_scale * images @ texts.T + model.logit_bias

        for _ in range(self.steps):
            loss = torch.nn.functional.cross_entropy(logits(), data.noisy_labels)
            (gradient,) = torch.autograd.grad(loss, context)
            context = (context - self.lr * gradient).detach().requires_grad_()
        p = logits().detach().softmax(dim=1)
        own = p.gather(1, data.noisy_labels[:, None]).squeeze(1)
        return Selection(keep=own >= 0.5, score=own)


@dataclass(frozen=True)
class AgreesOverViews(Selector):
    """The share of neighbours with the same label, over three views of each image."""

    views: int = 3
    k: int = 20

    knowledge = ("image pre-training",)

    def select(self, data: TrainingData) -> Selection:
        shares = []
        for view in data.view_embeddings("image", views=self.views):
            similar = view @ data.embeddings("image").T
            nearest = similar.fill_diagonal_(-2).topk(self.k).indices
            same = data.noisy_labels[nearest] == data.noisy_labels[:, None]
            shares.append(same.float().mean(dim=1))
        score = torch.stack(shares).mean(dim=0)
        return Selection(keep=score >= 0.35, score=score)


@dataclass(frozen=True)
class HidesItsPrompts(LearnsAContext):
    knowledge = ("image-text pre-training",)  # type: ignore[assignment]


@dataclass(frozen=True)
class HidesItsViews(AgreesOverViews):
    knowledge = ()  # type: ignore[assignment]


@pytest.mark.parametrize("good", [LearnsAContext, AgreesOverViews])
def test_selectors_on_prompts_and_views_pass_every_check(good: type[Selector]) -> None:
    failed = {r.name: r.message for r in check_selector(good) if r.status != "passed"}
    assert not failed


@pytest.mark.parametrize(
    ("hidden", "what"),
    [(HidesItsPrompts, "class names"), (HidesItsViews, "image pre-training")],
)
def test_what_prompts_and_views_stand_on_must_be_declared(
    hidden: type[Selector], what: str
) -> None:
    (result,) = check_selector(hidden, only=["check_declares_knowledge"])
    assert result.status == "failed"
    assert f"without '{what}'" in result.message


# The model.


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_planted_images_have_their_embeddings(plan: Plan) -> None:
    data = planted_data(plan)
    found = data.prompt_model().image_features(data.images(torch.arange(data.n_samples)))
    torch.testing.assert_close(found, data.embeddings(), atol=1e-4, rtol=0)


def test_images_that_were_not_planted_are_like_what_they_resemble() -> None:
    data = planted_data()
    model, images = data.prompt_model(), data.images(torch.arange(data.n_samples))
    nudged = model.image_features((images.int() + 3).clamp(max=255).to(torch.uint8))
    assert float((nudged * data.embeddings()).sum(dim=1).min()) > 0.99
    grey = model.image_features(torch.zeros(2, 1, 5, 7, dtype=torch.uint8))
    assert grey.shape == (2, data.embeddings().shape[1])
    torch.testing.assert_close(grey.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_class_names_have_the_features_of_their_texts(plan: Plan) -> None:
    data = planted_data(plan)
    model = data.prompt_model()
    tokens = model.token_embeddings([f"A photo of a {n}." for n in data.class_names or ()])
    features = model.encode_tokens(tokens.embeddings, tokens)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(data.n_classes))
    for feature, texts in zip(features, data.text_embeddings(), strict=True):
        assert float((texts @ feature).mean()) > 0.85
    if plan.features != "constant":
        means = torch.stack([texts.mean(dim=0) for texts in data.text_embeddings()])
        assert (features @ means.T).argmax(dim=1).tolist() == list(range(data.n_classes))


def test_a_feature_is_the_mean_of_the_tokens_up_to_the_end() -> None:
    model = planted_data().prompt_model()
    tokens = model.token_embeddings(["cat", "one dog more"], n_context=2)
    assert tokens.context == range(1, 3)
    assert tokens.ends.tolist() == [4, 6]
    assert tokens.ids[0, 0] == tokens.ids[1, 0] != tokens.ids[0, 4] == tokens.ids[1, 6]
    filled = tokens.with_context(torch.ones(2, model.width)).requires_grad_()
    features = model.encode_tokens(filled, tokens)
    for row, end in enumerate(tokens.ends.tolist()):
        mean = filled[row, : end + 1].mean(dim=0)
        torch.testing.assert_close(features[row], mean / mean.norm())
    (gradient,) = torch.autograd.grad(features[:, 0].sum(), filled)
    assert bool((gradient[0, :5] != 0).any(dim=1).all())
    assert not bool(gradient[0, 5:].any())


def test_the_scale_is_that_of_the_data() -> None:
    data = planted_data()
    model = data.prompt_model()
    assert (model.logit_scale, model.logit_bias) == data.logit_scale()


def test_what_does_not_fit_is_refused() -> None:
    model = planted_data().prompt_model()
    model.token_embeddings(["cat"], model.context_length - 3)
    with pytest.raises(ConfigError, match="at most 32 tokens, free places included, got 'cat'"):
        model.token_embeddings(["cat"], model.context_length - 2)
    with pytest.raises(ConfigError, match="`texts` must not be empty"):
        model.token_embeddings([])
    tokens = model.token_embeddings(["cat", "dog"])
    with pytest.raises(ConfigError, match=r"`embeddings` must have shape \(2, 32, 32\)"):
        model.encode_tokens(tokens.embeddings[:1], tokens)


@pytest.mark.parametrize("features", ["separable", "uninformative"])
def test_no_model_leads_to_the_clean_labels(features: str) -> None:
    plan = Plan(class_counts=(30,) * 4, features=features)  # type: ignore[arg-type]
    data, clean = planted_data(plan), planted_clean_labels(plan)
    reached = [data, data.prompt_model(), data.view_embeddings()]
    assert path_to_labels(reached, clean, data.noisy_labels) is None


# Views.


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_views_are_near_their_images(plan: Plan) -> None:
    data = planted_data(plan)
    views = data.view_embeddings(views=3)
    assert views.shape == (3, *data.embeddings().shape)
    torch.testing.assert_close(views.norm(dim=2), torch.ones(views.shape[:2]))
    near = (views * data.embeddings()).sum(dim=2)
    assert float(near.min()) > 0.9
    moved = plan.features not in ("identical", "constant")
    assert bool((near < 0.9999).any()) == moved
    assert torch.equal(views[0], views[1]) != moved
    torch.testing.assert_close(data.view_embeddings(views=1)[0], views[0], atol=0, rtol=0)


def test_a_shift_is_not_mirrored() -> None:
    """The third draw says whether a view is mirrored, so "shift" must not hear it."""
    data = planted_data()
    draws = torch.rand(1, data.n_samples, 3, generator=torch.Generator().manual_seed(0))
    other = draws.clone()
    other[:, :, 2] = 1 - other[:, :, 2]
    source = data._features
    shifts = [source.view_embeddings("image", "shift", each) for each in (draws, other)]
    assert torch.equal(*shifts)
    flips = [source.view_embeddings("image", "crop-flip", each) for each in (draws, other)]
    assert not torch.equal(*flips)


# Changed cases.


def test_model_and_views_follow_a_permutation() -> None:
    case = Case(planted_data(), lambda: planted_clean_labels(Plan()))
    order = random_order(case.data.n_samples, "test")
    other = case.permuted(order)
    torch.testing.assert_close(other.data.view_embeddings(), case.data.view_embeddings()[:, order])
    images = case.data.images(torch.arange(20))
    found = [each.prompt_model().image_features(images) for each in (case.data, other.data)]
    torch.testing.assert_close(*found)


def test_model_and_views_follow_other_class_ids() -> None:
    case = Case(planted_data(), lambda: planted_clean_labels(Plan()))
    other = case.relabelled(random_order(case.data.n_classes, "test"))
    torch.testing.assert_close(other.data.view_embeddings(), case.data.view_embeddings())
    texts = [f"a {name}" for name in case.data.class_names or ()]
    assert set(other.data.class_names or ()) == set(case.data.class_names or ())
    found = []
    for data in (case.data, other.data):
        tokens = data.prompt_model().token_embeddings(texts)
        found.append(data.prompt_model().encode_tokens(tokens.embeddings, tokens))
    torch.testing.assert_close(*found)


def test_arrays_of_users_go_on_refusing() -> None:
    data = planted_data(Plan(class_counts=(5, 5)))
    own = TrainingData.from_arrays(
        data.noisy_labels, 2, data.class_names, data.embeddings(), data.text_embeddings()
    )
    for refused in (own.prompt_model, own.view_embeddings, own.logit_scale):
        with pytest.raises(ConfigError, match="plain arrays come without their model"):
            refused()
