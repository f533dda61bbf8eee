"""`nlbench.clean`, read top to bottom: read -> embed -> judge -> look at the pictures -> audit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nlbench.audit.audit import Audit
from nlbench.audit.features import IMAGE_TEXT, RowImages, encoder_at_hand, feature_bank
from nlbench.audit.findings import PictureProblem
from nlbench.audit.judging import Judge, TrainWith, judges, verdict_of
from nlbench.audit.pictures.problems import feature_problems, picture_problems
from nlbench.audit.pictures.rotation import rotation_problems
from nlbench.audit.reading import read_samples, samples_of_arrays
from nlbench.audit.samples import Samples
from nlbench.data.images import ImageSource
from nlbench.encoders.cache import EmbeddingCache, cache_dir
from nlbench.encoders.features import FeatureBank, load_encoder
from nlbench.errors import ConfigError, DataError
from nlbench.machine import resolve_device, suitable_threads
from nlbench.scoring import probe_probabilities, stratified_folds
from nlbench.selector import FeatureSource, TrainingData, opaque_ids
from nlbench.selector.from_arrays import ArrayFeatures, tensor_of

log = logging.getLogger("nlbench")

# docs/clean.md: of the selectors on our boards of human labels.
DEFAULT_SELECTORS = ("confident-learning:filter_by=both",)
LEAST_PER_CLASS = 3
_FOLDS = 5
_ROW_SUM_TOLERANCE = 1e-3

# Called with (stage, steps done, steps in all).
Progress = Callable[[str, int, int], None]


def clean(
    data: Any = None,
    labels: Any = None,
    *,
    selectors: Sequence[str] = DEFAULT_SELECTORS,
    encoder: str | None = None,
    text_encoder: str = IMAGE_TEXT,
    embeddings: Any = None,
    probabilities: Any = None,
    class_names: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    train: bool = False,
    pictures: bool = True,
    rotated: bool = False,
    seed: int = 0,
    data_dir: str | Path | None = None,
    options: dict[str, Any] | None = None,
    device: str = "auto",
    command: str = "",
    progress: Progress = lambda stage, done, total: None,
    tell: Callable[[str], None] = log.info,
) -> Audit:
    """Find the wrong labels of a data set; every image is judged, none is held out.

    Args:
        data: A folder with a directory per class, a table ``file,label`` (CSV), a data set as
            ``--dataset`` takes it, or images: (N, C, H, W) or (N, H, W, C) uint8. None where
            `embeddings` or `probabilities` are all there is.
        labels: (N,) numbers or text, with images, embeddings or probabilities.
        selectors: ``NAME`` or ``NAME:key=value,...``; several vote.
        encoder: Image encoder; the best that needs no download where left out.
        text_encoder: Image-text encoder, for selectors that read class names.
        embeddings: (N, d) features of the user's own, instead of an encoder.
        probabilities: (N, K) of the user's own model, each row of a model that did not see it;
            for selectors that work by probabilities, as the default one does.
        class_names: K names, where `labels` are numbers.
        names: N names, for the table and the page.
        train: Train a linear head on the embeddings, for selectors that watch a training.
        pictures: Look for copies, blank and odd pictures, outliers, classes that are one.
        rotated: Look for pictures on their side too: embeds each one four times.
        seed: Of the folds and of selectors that draw.
        data_dir: Folder that contains the data sets.
        options: Settings of the data set.
        device: auto, cpu, cuda, cuda:N or mps.
        command: The command line, for the page.
        progress: Called with (stage, done, total).
        tell: Called with a sentence on what is about to be done.

    Returns:
        The audit: `.table`, `.suspects`, `.pairs`, `.noise_rate`, `.to_html()`, `.apply()`.

    Raises:
        ConfigError: if arguments do not fit together, or a selector cannot work here.
        DataError: if the data is missing, damaged, or too small to judge anything.
        PluginError: if a selector breaks its contract.

    >>> points = [[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5
    >>> audit = clean(labels=["cat"] * 4 + ["dog"] * 6, embeddings=points)
    >>> audit.suspects[["file", "given", "suggested"]].values.tolist()
    [['4', 'dog', 'cat']]
    """
    clock = _Clock()
    asked = judges(selectors)
    with clock("read"):
        progress("read", 0, 1)
        samples = _samples(data, labels, embeddings, probabilities, class_names, names,
                           data_dir, options)  # fmt: skip
        rows = judged_rows(samples)
    place, given = resolve_device(device), None
    if probabilities is not None:
        given = _own_probabilities(probabilities, samples)[torch.from_numpy(rows)]
    own = None if embeddings is None else _own_embeddings(embeddings, samples)
    source, bank, name = _features(samples, rows, encoder, text_encoder, own, place,
                                        progress)  # fmt: skip
    if name:
        tell(f"{len(samples)} images of {samples.name}, by features of {name}.")
    n_pixels = len(samples) * 32 * 32
    with suitable_threads(place, n_pixels):
        with clock("embed"):
            progress("embed", 0, 1)
            vectors = _vectors(source, bank, own, given, rows)
        view = _view(samples, rows, source, place, seed)
        head = _head(vectors, name, asked, train, progress)
        with clock("judge"):
            progress("judge", 0, len(asked))
            verdicts = []
            for i, judge in enumerate(asked):
                verdicts.append(verdict_of(judge, view, given, head))
                progress("judge", i + 1, len(asked))
        found = next((v.probabilities for v in verdicts if v.probabilities is not None), given)
        if found is None:
            found = _probed(view, source.embeddings("image"))
        with clock("look"):
            progress("look", 0, 1)
            problems = _problems(samples, rows, vectors, found, bank, name, place,
                                 pictures, rotated, progress)  # fmt: skip
    if isinstance(data, str | Path):
        _warn_of_change(samples, data, data_dir, options)
    return Audit(
        samples=samples,
        rows=rows,
        verdicts=tuple(verdicts),
        probabilities=found.float().cpu(),
        embeddings=None if vectors is None else vectors.float().cpu(),
        problems=tuple(problems),
        encoder=name,
        command=command,
        seconds=clock.seconds,
    )


def judged_rows(samples: Samples) -> npt.NDArray[np.int64]:
    """Return the positions of the samples whose class has enough others to be judged by.

    Raises:
        DataError: if fewer than two classes have.
    """
    n = np.bincount(samples.labels, minlength=samples.n_classes)
    small = [samples.class_names[k] for k in np.flatnonzero((n > 0) & (n < LEAST_PER_CLASS))]
    if (n >= LEAST_PER_CLASS).sum() < 2:
        raise DataError(
            f"at least 2 classes must have {LEAST_PER_CLASS} images or more, so that one can be "
            f"judged by the others, got {int((n >= LEAST_PER_CLASS).sum())} such classes of "
            f"{samples.n_classes} in {samples.name!r}. Add images."
        )
    if small:
        log.warning(
            "%d of %d classes have fewer than %d images and are not judged: %s%s",
            len(small), samples.n_classes, LEAST_PER_CLASS, ", ".join(small[:5]),
            ", ..." if len(small) > 5 else "",
        )  # fmt: skip
    return np.flatnonzero(n[samples.labels] >= LEAST_PER_CLASS)


def _warn_of_change(
    samples: Samples, data: str | Path, data_dir: str | Path | None, options: dict[str, Any] | None
) -> None:
    """Say it where the folder or table is not any more what was judged; reading twice is cheap."""
    if samples.root is None:
        return
    try:
        where = None if data_dir is None else Path(data_dir).expanduser()
        same = read_samples(data, where, options).fingerprint == samples.fingerprint
    except DataError:
        same = False
    if not same:
        log.warning(
            "%s changed while it was judged: this answer is of what it was before. Run the command "
            "again; what is unchanged takes no time.",
            samples.name,
        )


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = time.perf_counter() - started


def _samples(
    data: Any,
    labels: Any,
    embeddings: Any,
    probabilities: Any,
    class_names: Sequence[str] | None,
    names: Sequence[str] | None,
    data_dir: str | Path | None,
    options: dict[str, Any] | None,
) -> Samples:
    if isinstance(data, str | Path):
        if labels is not None:
            raise ConfigError(
                "`labels` must be left out where the data set brings its own. To judge other "
                "labels, write them into a table `file,label` and name that."
            )
        where = None if data_dir is None else Path(data_dir).expanduser()
        return read_samples(data, where, options)
    if labels is None:
        raise ConfigError("`labels` must be given with images, embeddings or probabilities.")
    if data is None and embeddings is None and probabilities is None:
        raise ConfigError("images, `embeddings` or `probabilities` must be given with `labels`.")
    return samples_of_arrays(labels, data, class_names, names)


def _own_probabilities(values: Any, samples: Samples) -> Tensor:
    table = tensor_of("probabilities", values).detach().cpu().float()
    shape = (len(samples), samples.n_classes)
    if tuple(table.shape) != shape:
        raise ConfigError(
            f"`probabilities` must have a row per sample and a column per class, {shape}, got "
            f"{tuple(table.shape)}. Classes without a label need `class_names=`."
        )
    fits = (table >= 0).all(dim=1) & ((table.sum(dim=1) - 1).abs() <= _ROW_SUM_TOLERANCE)
    if not bool(fits.all()):
        raise ConfigError(
            f"`probabilities` must be rows >= 0 that sum to 1, got {int((~fits).sum())} others, "
            f"first at {int((~fits).int().argmax())}. `logits.softmax(1)` gives such rows."
        )
    return table


def _own_embeddings(values: Any, samples: Samples) -> ArrayFeatures:
    labels = torch.from_numpy(samples.labels)
    return ArrayFeatures(labels, samples.n_classes, values, None)


def _features(
    samples: Samples,
    rows: npt.NDArray[np.int64],
    encoder: str | None,
    text_encoder: str,
    own: ArrayFeatures | None,
    device: torch.device,
    progress: Progress,
) -> tuple[FeatureSource, FeatureBank | None, str]:
    """Return where selectors get features from, the bank behind it, and the encoder's name."""
    at = torch.from_numpy(rows)
    labels = torch.from_numpy(samples.labels)[at].to(device)
    if own is not None or samples.images is None:
        if encoder is not None:
            raise ConfigError("`encoder` must be left out where there are no images to encode.")
        found = None if own is None else own.embeddings("image")[at].to(device)
        return ArrayFeatures(labels, samples.n_classes, found, None), None, ""
    name = encoder or encoder_at_hand(samples)
    load_encoder(name)  # a wrong name, or weights out of reach, before anything is computed
    cache = EmbeddingCache(cache_dir())
    bank = feature_bank(samples, samples.images, at, name, text_encoder, device, cache,
        lambda done, total: progress("embed", done, total),
    )  # fmt: skip
    return bank.sealed(), bank, name


def _vectors(
    source: FeatureSource,
    bank: FeatureBank | None,
    own: ArrayFeatures | None,
    given: Tensor | None,
    rows: npt.NDArray[np.int64],
) -> Tensor | None:
    """Return the (M, d) embeddings; None where the user's probabilities are all there is."""
    if bank is None and own is None:
        return None
    return source.embeddings("image")


def _view(
    samples: Samples,
    rows: npt.NDArray[np.int64],
    source: FeatureSource,
    device: torch.device,
    seed: int,
) -> TrainingData:
    images: ImageSource | None = samples.images
    return TrainingData(
        noisy_labels=torch.from_numpy(samples.labels[rows]).to(device),
        n_classes=samples.n_classes,
        class_names=samples.class_names,
        sample_ids=opaque_ids(samples.names[i] for i in rows.tolist()).to(device),
        device=device,
        seed=seed,
        _features=source,
        _images=None if images is None else RowImages(images, torch.from_numpy(rows)),
    )


def _head(
    vectors: Tensor | None, encoder: str, asked: Sequence[Judge], train: bool, progress: Progress
) -> TrainWith | None:
    if not train:
        return None
    if not any(judge.trains for judge in asked):
        raise ConfigError(
            "--train does nothing here: no selector that was asked for watches a training. Add "
            "one, such as --selector small-loss."
        )
    if vectors is None:
        raise ConfigError("--train needs images or embeddings to train on.")
    from nlbench.audit.training import trains_on

    return trains_on(
        vectors, encoder or "embeddings", lambda done, total: progress("train", done, total)
    )


def _probed(view: TrainingData, vectors: Tensor) -> Tensor:
    """Return a cross-fitted probe's (M, K), where no selector has probabilities."""
    folds = stratified_folds(view.noisy_labels, view.uniform("folds"), _FOLDS)
    return probe_probabilities(vectors, view.noisy_labels, view.n_classes, folds=folds)


def _problems(
    samples: Samples,
    rows: npt.NDArray[np.int64],
    vectors: Tensor | None,
    probabilities: Tensor,
    bank: FeatureBank | None,
    encoder: str,
    device: torch.device,
    pictures: bool,
    rotated: bool,
    progress: Progress,
) -> list[PictureProblem]:
    problems: list[PictureProblem] = []
    if pictures:
        problems += picture_problems(
            samples, progress=lambda done, total: progress("look", done, total)
        )
        problems += feature_problems(samples, vectors, probabilities, rows)
    if rotated and bank is None:
        raise ConfigError("--rotated needs images and an encoder.")
    if rotated and bank is not None:
        problems += rotation_problems(samples, load_encoder(encoder), device, bank.cache)
    return problems
