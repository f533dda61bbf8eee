"""What an online selector may look at beyond losses and logits, where it declares it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nlbench.data.images import StoredImages
from nlbench.errors import PluginError
from nlbench.training.evaluate import as_input, in_batches, predict
from nlbench.training.task import Looks, TrainingTask

# What has to be collected while the network learns.
IN_TRAINING = ("training predictions", "margin history")


class TrainingOutputs:
    """Predictions and margins in training mode, of each sample's last draw in an epoch."""

    def __init__(self, n_samples: int, device: torch.device) -> None:
        self.predictions = torch.full((n_samples,), -1, device=device)
        self.margins = torch.full((n_samples,), torch.nan, device=device)

    def forget(self) -> None:
        """Begin another epoch."""
        self.predictions.fill_(-1)
        self.margins.fill_(torch.nan)

    def note(self, positions: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Take note of a batch.

        Args:
            positions: (B,).
            logits: (B, K).
            labels: (B,) int64, or (B, K) float, whose largest entry counts.
        """
        logits = logits.detach().float()
        labels = labels if labels.ndim == 1 else labels.argmax(dim=1)
        own = logits.gather(1, labels[:, None])
        others = logits.scatter(1, labels[:, None], -torch.inf).max(dim=1).values
        self.predictions[positions] = logits.argmax(dim=1)
        self.margins[positions] = own.squeeze(1) - others


def looks_of(
    task: TrainingTask, network: nn.Module, autocast: bool, seen: TrainingOutputs | None
) -> Looks:
    """Return what `task.observes` asks for of one network, each computed when it is called."""
    # Not the task itself: from there a selector could reach the test set and the clean labels.
    images, val_images, k = task.images, task.val_images, task.n_classes
    noisy_labels, looks = task.noisy_labels, dict[str, Callable[[], Tensor]]()
    if "features" in task.observes:
        looks["features"] = lambda: features(network, images, autocast)
    if "held-out logits" in task.observes:
        looks["held-out logits"] = lambda: predict(network, val_images, autocast)[:, :k]
        looks["held-out labels"] = task.val_labels.clone
    if "input gradients" in task.observes:
        looks["input gradients"] = lambda: input_gradients(network, images, noisy_labels)
    if seen is not None:
        looks["training predictions"] = seen.predictions.clone
        looks["margin history"] = seen.margins.clone
    return looks


@torch.no_grad()
def features(network: nn.Module, images: StoredImages, autocast: bool) -> Tensor:
    """Return (N, d) float32: what goes into the network's last linear layer, in eval mode.

    Raises:
        PluginError: if the network has no linear layer.
    """
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise PluginError(
            f"features are the input of a network's last linear layer, and "
            f"{type(network).__name__} has none. Use another `trainer.network`."
        )
    caught: list[Tensor] = []
    handle = linear[-1].register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    network.eval()
    parts = []
    try:
        for batch in in_batches(images):
            with torch.autocast(batch.device.type, torch.bfloat16, enabled=autocast):
                network(as_input(batch))
            parts.append(caught.pop().float())
    finally:
        handle.remove()
    return torch.cat(parts)


def input_gradients(network: nn.Module, images: StoredImages, labels: Tensor) -> Tensor:
    """Return (N,) float32: the norm of each sample's cross-entropy by its input, in eval mode."""
    network.eval()
    parts, start = [], 0
    for batch in in_batches(images):
        x = as_input(batch).requires_grad_()
        own = labels[start : start + len(x)]
        with torch.enable_grad():
            loss = nn.functional.cross_entropy(network(x), own, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x)
        parts.append(gradient.flatten(1).norm(dim=1).float())
        start += len(x)
    return torch.cat(parts)
