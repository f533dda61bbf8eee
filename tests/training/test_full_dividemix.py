"""DivideMix in full, as the author of a plugin would write it: one trainer beside the divider.

Paper: Li, Socher, Hoi, ICLR 2020, arXiv 2002.07394, algorithm 1. What is built in is the division
only; here the rest stands on the public contract, so that nobody has to change the loop for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from training_tasks import bright_and_dark, make_task

from nlbench import LossTrainer, TrainingBatch, TrainingData, get_selector
from nlbench.config.methods import check_pair
from nlbench.runner.online_selection import OnlineSelection
from nlbench.scoring import gmm_posterior
from nlbench.training.mixup import draw_mix
from nlbench.training.task import TrainingOutcome, TrainingTask

N, WARMUP, EPOCHS = 128, 2, 5


def sharpened(p: Tensor, temperature: float) -> Tensor:
    powers = p ** (1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class DivideMixTrainer(LossTrainer):
    """Co-refinement, co-guessing and MixMatch on what the divider kept and dropped."""

    n_views: ClassVar[int] = 2
    uses_unlabelled: ClassVar[bool] = True
    seen: ClassVar[list[dict[str, Any]]] = []

    temperature: float = 0.5
    alpha: float = 4.0
    unlabelled_weight: float = 25.0

    def make_state(self, n: int, k: int) -> dict[str, Tensor]:
        return {"clean": torch.ones(n), "epoch": torch.zeros(())}

    def outputs(self, batch: TrainingBatch) -> Tensor:
        """Nothing is used of it after the warm-up: `batch_loss` mixes images first."""
        if batch.unlabelled is None:
            return super().outputs(batch)
        with torch.no_grad():
            return super().outputs(batch)

    def batch_loss(
        self, batch: TrainingBatch, outputs: Tensor, labels: Tensor, state: dict[str, Tensor]
    ) -> Tensor:
        """Return cross-entropy in the warm-up, then a scalar."""
        if batch.unlabelled is None:
            return nn.functional.cross_entropy(outputs[0, 0], labels, reduction="none")[None]
        clean = self._clean(batch, state)
        k = outputs.shape[-1]
        with torch.no_grad():
            refined = self._refined(outputs[:, 0], labels, clean, k)
            guessed = self._guessed(batch)
        self._note(batch, refined, guessed)
        return self._mixmatch(batch, refined, guessed, k)

    def _clean(self, batch: TrainingBatch, state: dict[str, Tensor]) -> Tensor:
        """The posterior that the divider cut at 0.5, from its score: once per epoch."""
        assert batch.selection is not None
        if int(state["epoch"]) != batch.epoch:
            score = batch.selection.score
            state["clean"] = gmm_posterior(
                score, max_iter=10, tol=1e-2, reg_covar=5e-4, normalise=False
            )
            state["epoch"].fill_(batch.epoch)
        return state["clean"][batch.positions]

    def _refined(self, outputs: Tensor, labels: Tensor, clean: Tensor, k: int) -> Tensor:
        p = outputs.softmax(dim=2).mean(dim=0)
        label = nn.functional.one_hot(labels, k).to(p.dtype)
        share = clean[:, None].to(p.dtype)
        return sharpened(share * label + (1 - share) * p, self.temperature)

    def _guessed(self, batch: TrainingBatch) -> Tensor:
        assert batch.unlabelled is not None
        p = [
            network(view).softmax(dim=1)
            for network in (*batch.networks, *batch.peers)
            for view in batch.unlabelled.images
        ]
        return sharpened(torch.stack(p).mean(dim=0), self.temperature)

    def _mixmatch(self, batch: TrainingBatch, refined: Tensor, guessed: Tensor, k: int) -> Tensor:
        assert batch.unlabelled is not None
        assert batch.draws is not None
        images = torch.cat([*batch.images, *batch.unlabelled.images])
        targets = torch.cat([refined, refined, guessed, guessed])
        share, partners = draw_mix(len(images), self.alpha, batch.draws)
        logits = batch.networks[0](share * images + (1 - share) * images[partners])
        targets = share * targets + (1 - share) * targets[partners]
        n = 2 * len(refined)
        fit = -(targets[:n] * logits[:n].log_softmax(dim=1)).sum(dim=1).mean()
        apart = (logits[n:].softmax(dim=1) - targets[n:]).square().mean()
        spread = logits.softmax(dim=1).mean(dim=0)
        penalty = -(spread * k).log().mean()  # KL of the uniform distribution from it
        done = batch.epoch - 1 + (batch.step - 1) / batch.n_steps
        ramp = min(1.0, max(0.0, (done - WARMUP) / 16))
        return fit + self.unlabelled_weight * ramp * apart + penalty

    def _note(self, batch: TrainingBatch, refined: Tensor, guessed: Tensor) -> None:
        self.seen.append({"batch": batch, "refined": refined, "guessed": guessed})


@dataclass(frozen=True)
class Watched:
    outcome: TrainingOutcome
    wrong: Tensor
    steps: list[dict[str, Any]]


@pytest.fixture(scope="module")
def run() -> Watched:
    """The pair on a small task, a quarter of the labels wrong."""
    images, labels = bright_and_dark(N, seed=1)
    wrong = torch.arange(N) % 8 < 2  # as many of either class
    noisy = torch.where(wrong, 1 - labels, labels)
    selector: Any = get_selector("dividemix", warmup_epochs=WARMUP)
    trainer = DivideMixTrainer(epochs=EPOCHS, batch_size=16, augmentation="shift", lr=0.05)
    check_pair(selector, trainer, "dividemix", "dividemix-full")
    online = OnlineSelection(selector, TrainingData.from_arrays(noisy, 2), EPOCHS, ~wrong)
    task: TrainingTask = make_task(
        N,
        images=images,
        noisy_labels=noisy,
        selection=online.first(),
        reselect=online,
        n_networks=online.n_networks,
    )
    DivideMixTrainer.seen.clear()
    outcome = trainer.train(task)
    return Watched(outcome, wrong, list(DivideMixTrainer.seen))


def test_it_learns_and_stays_finite(run: Watched) -> None:
    assert len(run.outcome.curves["train_loss"]) == EPOCHS
    assert None not in run.outcome.curves["train_loss"]
    accuracy = run.outcome.curves["test_accuracy"][-1]
    assert accuracy is not None
    assert accuracy > 0.9
    assert "ensemble_test_accuracy" in run.outcome.curves


def test_both_networks_are_trained_after_the_warm_up_on_sets_of_their_own(run: Watched) -> None:
    per_network = {step["batch"].networks[0] for step in run.steps}
    assert len(per_network) == 2
    steps_per_epoch = N // 16
    assert len(run.steps) == 2 * (EPOCHS - WARMUP) * steps_per_epoch
    assert {step["batch"].epoch for step in run.steps} == set(range(WARMUP + 1, EPOCHS + 1))


def test_labelled_batches_are_kept_and_unlabelled_ones_dropped_samples(run: Watched) -> None:
    dropped_wrong = dropped = 0
    for step in run.steps:
        batch = step["batch"]
        assert bool(batch.selection.keep[batch.positions].all())
        assert not bool(batch.selection.keep[batch.unlabelled.positions].any())
        assert len(batch.unlabelled.positions) == len(batch.positions)
        assert batch.images.shape == batch.unlabelled.images.shape == (2, 16, 1, 8, 8)
        dropped += 16
        dropped_wrong += int(run.wrong[batch.unlabelled.positions].sum())
    assert dropped_wrong / dropped > 0.8


def test_guessed_labels_come_from_both_networks(run: Watched) -> None:
    """Made again without either network, they are others."""
    for step in run.steps[:4]:
        batch = step["batch"]
        (own,), (peer,) = batch.networks, batch.peers
        assert own is not peer
        assert step["guessed"].shape == (16, 2)
        torch.testing.assert_close(step["guessed"].sum(dim=1), torch.ones(16))
    asked: list[nn.Module] = []
    batch = run.steps[-1]["batch"]
    handles = [
        network.register_forward_hook(lambda module, *_: asked.append(module))
        for network in (*batch.networks, *batch.peers)
    ]
    trainer = DivideMixTrainer()
    with torch.no_grad():
        both = trainer._guessed(batch)
    assert [asked.count(network) for network in (*batch.networks, *batch.peers)] == [2, 2]
    for handle in handles:
        handle.remove()
    p = torch.stack(
        [
            torch.stack([network(view) for view in batch.unlabelled.images]).softmax(dim=2).mean(0)
            for network in (*batch.networks, *batch.peers)
        ]
    ).detach()
    torch.testing.assert_close(both, sharpened(p.mean(dim=0), 0.5))
    assert not torch.allclose(p[0], p[1], atol=1e-4)


def test_refined_labels_follow_how_clean_the_divider_calls_them(run: Watched) -> None:
    step = run.steps[-1]
    batch = step["batch"]
    posterior = gmm_posterior(
        batch.selection.score, max_iter=10, tol=1e-2, reg_covar=5e-4, normalise=False
    )
    assert torch.equal(posterior > 0.5, batch.selection.keep)
    sure = posterior[batch.positions] > 0.99
    assert bool(sure.any())
    assert torch.equal(step["refined"][sure].argmax(dim=1), batch.labels[sure])
