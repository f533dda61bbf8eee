"""What an online selector may look at beyond losses and logits, where it declares it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nlbench.data.images import StoredImages
from nlbench.errors import PluginError
from nlbench.training.crops import CentreCropped
from nlbench.training.evaluate import as_input, in_batches, in_shares, predict
from nlbench.training.networks import Renormalised
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


def features(network: nn.Module, images: StoredImages, autocast: bool) -> Tensor:
    """Return (N, d) float32: what goes into the network's classifier, in eval mode.

    The classifier is what timm's `get_classifier` names; of several heads, as a distilled
    transformer has for its class and its distillation token, the first. Of networks without that
    method, and where it names nothing with weights, it is the last linear layer. What goes into a
    convolution is averaged over its places.

    Raises:
        PluginError: if the network has no such layer, does not use it, or puts more than a vector
            for each image into it.
    """
    return in_shares(images, lambda part, _: _features(network, part, autocast))


@torch.no_grad()
def _features(network: nn.Module, images: StoredImages, autocast: bool) -> Tensor:
    classifier = _classifier(network)
    caught: list[Tensor] = []
    handle = classifier.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    network.eval()
    parts = []
    try:
        for batch in in_batches(images):
            caught.clear()
            with torch.autocast(batch.device.type, torch.bfloat16, enabled=autocast):
                network(as_input(batch))
            parts.append(_vectors(caught, classifier, network, len(batch)))
    finally:
        handle.remove()
    return torch.cat(parts)


def _classifier(network: nn.Module) -> nn.Module:
    """Return the layer that makes logits, of the network inside wrappers."""
    while isinstance(network, CentreCropped | Renormalised):
        network = network.network
    get: Any = getattr(network, "get_classifier", lambda: None)
    heads = get()
    head = heads[0] if isinstance(heads, tuple | list) else heads
    for within, kinds in ((head, (nn.Linear, nn.Conv2d)), (network, (nn.Linear,))):
        layers = [] if within is None else [m for m in within.modules() if isinstance(m, kinds)]
        if layers:
            return layers[-1]
    raise PluginError(
        f"features are the input of a network's classifier, its last linear layer, and "
        f"{type(network).__name__} has none. Use another `trainer.network`."
    )


def _vectors(
    caught: list[Tensor], classifier: nn.Module, network: nn.Module, n_images: int
) -> Tensor:
    shape = tuple(caught[-1].shape) if caught else None
    if shape and isinstance(classifier, nn.Conv2d):
        return caught[-1].float().flatten(2).mean(dim=2)
    if not shape or len(shape) != 2 or shape[0] != n_images:
        got = f"an input of shape {shape}" if shape else "a layer that its forward does not use"
        raise PluginError(
            f"features must be one vector for each image, and the last linear layer of "
            f"{type(network).__name__} has {got}. Use another `trainer.network`."
        )
    return caught[-1].float()


def input_gradients(network: nn.Module, images: StoredImages, labels: Tensor) -> Tensor:
    """Return (N,) float32: the norm of each sample's cross-entropy by its input, in eval mode."""
    return in_shares(images, lambda part, rows: _input_gradients(network, part, labels[rows]))


def _input_gradients(network: nn.Module, images: StoredImages, labels: Tensor) -> Tensor:
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
