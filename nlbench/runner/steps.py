"""The steps of a run after its inputs: select, train, evaluate. Each returns a value."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from nlbench.data.images import StoredImages, as_source, part_of
from nlbench.encoders.features import FeatureBank
from nlbench.errors import ConfigError, PluginError
from nlbench.noise.unknown_truth import no_truth
from nlbench.plugins import registry
from nlbench.plugins.registry import make_component, plugin_name
from nlbench.results.metrics import accuracy_per_class, evaluate_selection
from nlbench.results.record import Metrics, SelectionMetrics, TestMetrics
from nlbench.runner.batch_selection import BatchSelection
from nlbench.runner.checkpointing import Checkpointing, Parts
from nlbench.runner.equal_keep import keep_top_share
from nlbench.runner.inputs import Inputs
from nlbench.runner.network_images import network_encoder, network_images
from nlbench.runner.online_selection import OnlineSelection, RelabelAccuracy
from nlbench.runner.pausing import pausable
from nlbench.runner.ranks_of_run import answer_of_first, require_shared
from nlbench.runner.selector_calls import SelectorCalls
from nlbench.runner.workplace import Progress, no_progress
from nlbench.selector import (
    AnySelector,
    BatchSelector,
    BoundSelector,
    OnlineSelector,
    Selection,
    Selector,
    TrainingData,
    checked_answer,
    opaque_ids,
)
from nlbench.surroundings import kept
from nlbench.training.task import TrainingOutcome, TrainingTask


@dataclass(frozen=True, eq=False)
class Choice:
    """What a selector answered before training.

    Attributes:
        images: (F, ...) what was selected from, at the protocol's size.
        network_images: (F, ...) what the network learns from: the same, or embeddings.
        network_val_images: (V, ...) the same of the held-out part.
        selection: The first answer; everything for selectors that answer in training.
        online: Asks an online selector after every epoch; None for all others.
        in_batches: Asks a batch selector in every step; None for all others.
        view: What the selector sees.
        bank: Where the selector's embeddings come from, also during training.
        read_s: Seconds for images, or for the network's embeddings, which are nobody's choice.
        embed_s, select_s: Seconds for the selector's embeddings and the selector itself.
    """

    images: StoredImages
    network_images: StoredImages
    network_val_images: StoredImages
    selection: Selection
    online: OnlineSelection | None
    in_batches: BatchSelection | None
    view: TrainingData
    bank: FeatureBank
    read_s: float
    embed_s: float
    select_s: float


@dataclass(frozen=True, eq=False)
class Result:
    """What training gave.

    Attributes:
        training: Curves, predictions and the last selection.
        test_labels: (M,) on the device.
        curves: Those of `training` with the online selector's and the relabelled samples'.
        times: Seconds of this process by the record's names: ``data_s``, ``embed_s``,
            ``select_s``, ``train_s``.
    """

    training: TrainingOutcome
    test_labels: Tensor
    curves: dict[str, list[float | None]]
    times: dict[str, float]

    @property
    def selection(self) -> Selection:
        """The last answer of the selector."""
        return self.training.selection


def select(
    inputs: Inputs, progress: Progress = no_progress, before: Selection | None = None
) -> Choice:
    """Show the selector what it may see, and return its first answer.

    Args:
        inputs: What the run starts from.
        progress: Told of the stages.
        before: What it answered in an earlier process; it is not asked again.

    Raises:
        ConfigError: if the selector needs what nobody knows about this data.
        PluginError: if its answer breaks the contract.
    """
    started = time.perf_counter()
    bank = _feature_bank(inputs)
    fit_images, learned, learned_val = _images(inputs, bank, progress)
    read_s = time.perf_counter() - started
    progress("select", 0, 1)
    config = inputs.config.selector
    calls = SelectorCalls(config.name)
    with calls.call(patches=False):
        selector = registry.get_selector(config.name, **config.params)
        view = _view_of(inputs, selector, bank, fit_images)
    started = time.perf_counter()
    online: OnlineSelection | None = None
    in_batches: BatchSelection | None = None
    if isinstance(selector, OnlineSelector):
        online = _online_selection(inputs, selector, view, calls)
        selection = online.first()
    elif isinstance(selector, BatchSelector):
        in_batches = BatchSelection(selector, view, _is_clean(inputs), calls)
        selection = in_batches.first()
    else:
        selection = before or _answer(inputs, selector, view, calls)
        selection = answer_of_first(selection)
    elapsed = time.perf_counter() - started
    return Choice(
        fit_images, learned, learned_val, selection, online, in_batches, view, bank, read_s,
        bank.seconds, elapsed - bank.seconds,
    )  # fmt: skip


def train(
    inputs: Inputs, choice: Choice, checkpoints: Checkpointing, progress: Progress = no_progress
) -> Result:
    """Train on the selection; an online selector answers after every epoch.

    Raises:
        PausedError: if the run is to end early.
    """
    data, config, device = inputs.data, inputs.config, inputs.workplace.device
    trainer = make_component("trainers", config.trainer.name, config.trainer.params)
    noisy_labels, online = inputs.noisy_labels(inputs.fit), choice.online
    asked = online or choice.in_batches
    started = time.perf_counter()
    test_images = network_images(inputs, "test", progress)
    other_tests = {name: network_images(inputs, name, progress) for name in data.other_tests}
    read_s = time.perf_counter() - started
    test_labels = torch.from_numpy(data.test_labels).to(device)
    relabelling = RelabelAccuracy(noisy_labels, inputs.clean_labels)
    started = time.perf_counter()

    def times(outcome: TrainingOutcome) -> dict[str, float]:
        """Return the seconds so far, of this process."""
        late_embedding = choice.bank.seconds - choice.embed_s
        return {
            "data_s": inputs.read_s + choice.read_s + read_s,
            "embed_s": choice.bank.seconds,
            "select_s": choice.select_s + outcome.reselect_s - late_embedding,
            "train_s": time.perf_counter() - started - outcome.reselect_s,
        }

    def tell(done: int, total: int) -> None:
        require_shared(config.trainer.name)
        progress("train", done, total)

    checkpoints.parts = Parts(
        asked, choice.selection, choice.view, choice.bank.warnings, relabelling, times
    )
    task = TrainingTask(
        images=choice.network_images,
        noisy_labels=noisy_labels,
        val_images=choice.network_val_images,
        val_labels=inputs.noisy_labels(inputs.val),
        test_images=test_images,
        test_labels=test_labels,
        n_classes=data.n_classes,
        selection=choice.selection,
        other_tests=other_tests,
        reselect=online,
        n_networks=online.n_networks if online else 1,
        choose=choice.in_batches,
        observes=online.observes if online else (),
        extra_classes=online.extra_classes if online else 0,
        on_labels=relabelling,
        seed=config.seed,
        device=device,
        progress=tell,
        checkpoints=checkpoints,
    )
    # Also what a selector did in its steps, of which only torch's switches are looked at there.
    plugins = (
        plugin_name("trainers", config.trainer.name),
        plugin_name("selectors", config.selector.name) if asked else "",
    )
    with kept(" with ".join(filter(None, plugins))), pausable():
        outcome: TrainingOutcome = trainer.train(task)
    require_shared(config.trainer.name)
    return Result(
        training=outcome,
        test_labels=test_labels,
        curves={**outcome.curves, **(asked.curves if asked else {}), **relabelling.curves},
        times=times(outcome),
    )


def evaluate(inputs: Inputs, result: Result) -> Metrics:
    """Measure the last selection and the network against the truth."""
    noisy_labels = inputs.noisy_labels(inputs.fit)
    selection = evaluate_selection(result.selection, noisy_labels, inputs.clean_labels)
    return Metrics(selection=SelectionMetrics(**selection), test=_test_metrics(inputs, result))


def _test_metrics(inputs: Inputs, result: Result) -> TestMetrics:
    outcome, labels = result.training, result.test_labels
    accuracies = [a for a in outcome.curves["test_accuracy"] if a is not None]
    by_val = [-1.0 if a is None else a for a in outcome.curves["noisy_val_accuracy"]]
    at_best_val = outcome.test_predictions_noisy_val
    return TestMetrics(
        accuracy_last=accuracies[-1],
        accuracy_noisy_val=None if at_best_val is None else _share(at_best_val == labels),
        accuracy_best_oracle=max(accuracies),
        accuracy_per_class=accuracy_per_class(
            outcome.test_predictions, labels, inputs.data.n_classes
        ),
        epoch_noisy_val=None if at_best_val is None else by_val.index(max(by_val)) + 1,
        epoch_best_oracle=accuracies.index(max(accuracies)) + 1,
        other_tests={
            name: _share(classes.cpu() == torch.from_numpy(inputs.data.other_tests[name].labels))
            for name, classes in outcome.other_predictions.items()
        },
    )


def _images(
    inputs: Inputs, bank: FeatureBank, progress: Progress
) -> tuple[StoredImages, StoredImages, StoredImages]:
    """Return what is selected from, what the network learns from, and its held-out part."""
    images = inputs.images("train", progress)
    fit_images = part_of(images, inputs.fit)
    name = network_encoder(inputs)
    if not name:
        return fit_images, fit_images, part_of(images, inputs.val)
    bank.loaded(name)  # notes its warnings for the record
    embedded = network_images(inputs, "train", progress)
    return fit_images, part_of(embedded, inputs.fit), part_of(embedded, inputs.val)


def _feature_bank(inputs: Inputs) -> FeatureBank:
    data, protocol = inputs.data, inputs.config.protocol
    return FeatureBank(
        images=data.train_images,
        data_key=f"{data.fingerprint}/train",
        data_name=data.name,
        rows=inputs.fit,
        class_names=data.class_names,
        roles={"image-text": protocol.image_text_encoder, "image": protocol.image_encoder},
        prompts=protocol.prompts,
        device=inputs.workplace.device,
        cache=inputs.workplace.embeddings,
    )


def _view_of(
    inputs: Inputs, selector: AnySelector, bank: FeatureBank, images: StoredImages
) -> TrainingData:
    """Return all that the selector may see; the noise rate only where it declares it."""
    data, device = inputs.data, inputs.workplace.device
    rate = inputs.noisy.nominal_rate
    knows_rate = "noise rate" in selector.knowledge_used()
    if knows_rate and rate is None:
        raise ConfigError(
            f"{inputs.config.selector.name!r} with these settings needs the noise rate, and that "
            f"of {data.name!r} is not known for noise {inputs.config.noise.kind!r}. Use another "
            "setting, such as noise_rate=estimated where it takes one, or another selector."
        )
    return TrainingData(
        noisy_labels=inputs.noisy_labels(inputs.fit).clone(),
        n_classes=data.n_classes,
        class_names=data.class_names,
        sample_ids=opaque_ids(data.train_ids[i] for i in inputs.fit.tolist()).to(device),
        device=device,
        seed=inputs.config.seed,
        _features=bank.sealed(),
        _images=as_source(images),
        _noise_rate=rate if knows_rate else None,
    )


def _online_selection(
    inputs: Inputs, selector: OnlineSelector, view: TrainingData, calls: SelectorCalls
) -> OnlineSelection:
    config = inputs.config
    n_epochs, share = int(config.trainer.params["epochs"]), config.protocol.equal_keep
    return OnlineSelection(selector, view, n_epochs, _is_clean(inputs), share, calls)


def _is_clean(inputs: Inputs) -> Tensor | None:
    truth = inputs.clean_labels
    return None if truth is None else inputs.noisy_labels(inputs.fit) == truth


def _answer(
    inputs: Inputs, selector: Selector | BoundSelector, view: TrainingData, calls: SelectorCalls
) -> Selection:
    if isinstance(selector, BoundSelector):
        truth = inputs.clean_labels
        if truth is None:
            raise no_truth(inputs.config.selector.name, inputs.data.name)
        with calls.call():
            answer = selector.select_with_truth(view, truth.clone())
    else:
        with calls.call():
            answer = selector.select(view)
    if isinstance(answer, Selection) and answer.restart:
        raise PluginError(
            "restart is for selectors that choose during training, and this one chose before it. "
            "Derive from nlbench.OnlineSelector, or leave it out."
        )
    return keep_top_share(checked_answer(answer, view), view, inputs.config.protocol.equal_keep)


def _share(right: Tensor) -> float:
    return float(right.double().mean())
