"""The steps of one run and what each leaves for the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from nlbench.config.run_config import RunConfig
from nlbench.data.images import StoredImages, as_source, part_of
from nlbench.data.pixel_file import pixel_folder
from nlbench.data.pixels import check_space, stored_images
from nlbench.encoders.cache import EmbeddingCache
from nlbench.encoders.features import FeatureBank
from nlbench.errors import ConfigError
from nlbench.machine import PeakMemory
from nlbench.noise.unknown_truth import no_truth
from nlbench.plugins import registry
from nlbench.plugins.registry import make_component
from nlbench.results.metrics import accuracy_per_class, evaluate_selection
from nlbench.results.record import Metrics, SelectionMetrics, TestMetrics
from nlbench.runner.equal_keep import keep_top_share
from nlbench.runner.inputs import load_data, noisy_labels_of, validation_split
from nlbench.runner.online_selection import OnlineSelection, RelabelAccuracy
from nlbench.selector import (
    AnySelector,
    BoundSelector,
    OnlineSelector,
    Selection,
    TrainingData,
    checked_answer,
    opaque_ids,
)
from nlbench.training.loop import TrainingOutcome, TrainingTask

Progress = Callable[[str, int, int], None]


@dataclass(eq=False)
class Attempt:
    """The state of one run while it goes from step to step."""

    config: RunConfig
    device: torch.device
    data_dir: Path | None
    progress: Progress
    cache: EmbeddingCache = field(default_factory=EmbeddingCache)
    deterministic: bool = False
    times: dict[str, float] = field(default_factory=dict)

    def prepare(self) -> None:
        """Read the data, corrupt its labels, hold out the validation part."""
        self.started = time.perf_counter()
        self.memory = PeakMemory(self.device)
        self.progress("data", 0, 1)
        config = self.config
        options = tuple(sorted(config.dataset.options.items()))
        # The content and the working directory are part of the key: the same words may name
        # other files by now.
        here = (tuple(config.dataset.content.items()), str(Path.cwd()))
        self.data = load_data(config.dataset.name, options, self.data_dir, here)
        check_space(self.data, config.protocol.image_size, self.pixel_folder)
        self.noisy = noisy_labels_of(config, self.data, self.data_dir)
        self.fit, self.val = validation_split(self.data, config)
        self.times["data_s"] = time.perf_counter() - self.started

    @property
    def n_pixels(self) -> int:
        """Pixels of the training set at the protocol's size."""
        return len(self.data.train_labels) * self.config.protocol.image_size**2

    @property
    def pixel_folder(self) -> Path:
        """Where images go that do not fit in memory."""
        return pixel_folder(self.cache.folder.parent)

    def select(self) -> None:
        """Give the selector what it may see, and take its first answer."""
        started = time.perf_counter()
        config, data = self.config, self.data
        images = self._images("train")
        self.fit_images, self.val_images = part_of(images, self.fit), part_of(images, self.val)
        self.noisy_labels = torch.from_numpy(self.noisy.labels)[self.fit].to(self.device)
        self.clean_labels = self._truth()
        self.times["data_s"] += time.perf_counter() - started
        self.bank = FeatureBank(
            images=data.train_images,
            data_key=f"{data.fingerprint}/train",
            data_name=data.name,
            rows=self.fit,
            class_names=data.class_names,
            roles={
                "image-text": config.protocol.image_text_encoder,
                "image": config.protocol.image_encoder,
            },
            prompts=config.protocol.prompts,
            device=self.device,
            cache=self.cache,
        )
        self.progress("select", 0, 1)
        self.selector = registry.get_selector(config.selector.name, **config.selector.params)
        self.seen = self._training_data(self.selector)
        started = time.perf_counter()
        self.selection = self._first_selection()
        elapsed = time.perf_counter() - started
        self.times |= {"embed_s": self.bank.seconds, "select_s": elapsed - self.bank.seconds}

    def train(self) -> None:
        """Train on the selection; an online selector answers after every epoch."""
        data, config = self.data, self.config
        test_images = self._images("test")
        noisy_labels = torch.from_numpy(self.noisy.labels)
        trainer = make_component("trainers", config.trainer.name, config.trainer.params)
        self.test_labels = torch.from_numpy(data.test_labels).to(self.device)
        self.relabelling = RelabelAccuracy(self.noisy_labels, self.clean_labels)
        started = time.perf_counter()
        self.outcome: TrainingOutcome = trainer.train(
            TrainingTask(
                images=self.fit_images,
                noisy_labels=self.noisy_labels,
                val_images=self.val_images,
                val_labels=noisy_labels[self.val].to(self.device),
                test_images=test_images,
                test_labels=self.test_labels,
                n_classes=data.n_classes,
                selection=self.selection,
                other_tests={name: self._images(name) for name in data.other_tests},
                reselect=self.online,
                n_networks=self.online.n_networks if self.online else 1,
                on_labels=self.relabelling,
                seed=config.seed,
                device=self.device,
                progress=lambda done, total: self.progress("train", done, total),
            )
        )
        elapsed = time.perf_counter() - started
        self.selection = self.outcome.selection
        late_embedding = self.bank.seconds - self.times["embed_s"]
        self.times["embed_s"] = self.bank.seconds
        self.times["select_s"] += self.outcome.reselect_s - late_embedding
        self.times["train_s"] = elapsed - self.outcome.reselect_s

    def metrics(self) -> Metrics:
        """Measure the last selection and the network against the truth."""
        found = evaluate_selection(self.selection, self.noisy_labels, self.clean_labels)
        out, k = self.outcome, self.data.n_classes
        right = [a for a in out.curves["test_accuracy"] if a is not None]
        noisy_val = out.test_predictions_noisy_val
        by_val = [-1.0 if a is None else a for a in out.curves["noisy_val_accuracy"]]
        test = TestMetrics(
            accuracy_last=right[-1],
            accuracy_noisy_val=(
                None if noisy_val is None else _share(noisy_val == self.test_labels)
            ),
            accuracy_best_oracle=max(right),
            accuracy_per_class=accuracy_per_class(out.test_predictions, self.test_labels, k),
            epoch_noisy_val=None if noisy_val is None else by_val.index(max(by_val)) + 1,
            epoch_best_oracle=right.index(max(right)) + 1,
            other_tests={
                name: _share(found.cpu() == torch.from_numpy(self.data.other_tests[name].labels))
                for name, found in out.other_predictions.items()
            },
        )
        return Metrics(selection=SelectionMetrics(**found), test=test)

    def _images(self, part: str) -> StoredImages:
        return stored_images(
            self.data,
            part,
            self.config.protocol.image_size,
            self.device,
            self.pixel_folder,
            lambda done, total: self.progress("decode", done, total),
        )

    def _truth(self) -> Tensor | None:
        """Return the clean labels of the samples to train on, None where nobody knows them."""
        if not self.data.labels_are_clean:
            return None
        return torch.from_numpy(self.data.train_labels)[self.fit].to(self.device)

    def _training_data(self, selector: AnySelector) -> TrainingData:
        knows_rate = "noise rate" in selector.knowledge_used()
        if knows_rate and self.noisy.nominal_rate is None and not self.data.labels_are_clean:
            raise ConfigError(
                f"{self.config.selector.name!r} with these settings needs the noise rate, and that "
                f"of {self.data.name!r} is not known. Use another setting or selector."
            )
        return TrainingData(
            noisy_labels=self.noisy_labels.clone(),
            n_classes=self.data.n_classes,
            class_names=self.data.class_names,
            sample_ids=opaque_ids(self.data.train_ids[i] for i in self.fit.tolist()).to(
                self.device
            ),
            device=self.device,
            seed=self.config.seed,
            _features=self.bank.sealed(),
            _images=as_source(self.fit_images),
            _noise_rate=self.noisy.nominal_rate if knows_rate else None,
        )

    def _first_selection(self) -> Selection:
        self.online: OnlineSelection | None = None
        if isinstance(self.selector, OnlineSelector):
            n_epochs = int(self.config.trainer.params["epochs"])
            truth = self.clean_labels
            is_clean = None if truth is None else self.noisy_labels == truth
            equal_keep = self.config.protocol.equal_keep
            self.online = OnlineSelection(self.selector, self.seen, n_epochs, is_clean, equal_keep)
            return self.online.first()
        if isinstance(self.selector, BoundSelector):
            if self.clean_labels is None:
                raise no_truth(self.config.selector.name, self.data.name)
            answer = self.selector.select_with_truth(self.seen, self.clean_labels.clone())
        else:
            answer = self.selector.select(self.seen)
        checked = checked_answer(answer, self.seen)
        return keep_top_share(checked, self.seen, self.config.protocol.equal_keep)


def _share(right: Tensor) -> float:
    return float(right.double().mean())
