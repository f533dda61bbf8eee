"""performance.py selection: selectors on cached embeddings against plain scikit-learn."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

import torch

from nlbench import get_selector
from nlbench.machine import PeakMemory
from nlbench.scoring import consistency, probe_probabilities, zero_shot_probabilities
from nlbench.scoring.blocks import over_blocks
from nlbench.scoring.neighbours import neighbour_search
from timings.timing import ROOT, in_new_process, in_turns, machine, seconds, table, timed

D = 512
PLOT = ROOT / "docs" / "images" / "selection-scaling.png"
_SLICE = 4096  # queries that are timed where all neighbours of all would take an hour
_WHOLE_KNN = 1_000_000


def run(arguments: argparse.Namespace) -> None:
    """Print the table of N = 50 000."""
    import baselines
    from synthetic import synthetic

    print(f"{machine(arguments.device)}\n")
    rows = []
    for n_classes in arguments.classes:
        data, clean = synthetic(arguments.n, n_classes, D, device=arguments.device)
        print(f"K = {n_classes}: {_quality(data, clean)}\n", flush=True)
        for name in arguments.selectors:
            baseline, selector = baselines.SELECTION[name], get_selector(name)
            if not arguments.rounds:
                rows.append([f"`{name}`, K = {n_classes}", seconds(_ours_alone(selector, data))])
                continue
            given = baselines.on(data)
            pair = in_turns(
                lambda baseline=baseline, given=given: baseline(*given),
                lambda selector=selector, data=data: selector.select(data).keep.cpu(),
                arguments.rounds,
            )
            theirs = torch.from_numpy(pair.baseline)
            agreement = int((theirs & pair.ours).sum()) / int((theirs | pair.ours).sum())
            used = in_new_process("memory", name, arguments.n, n_classes, arguments.device)
            rows.append(
                [
                    f"`{name}`, K = {n_classes}",
                    seconds(pair.baseline_s),
                    seconds(pair.ours_s),
                    f"{pair.ratio:.1f}",
                    f"{agreement:.4f}",
                    f"{used['times_embeddings']:.2f}",
                ]
            )
    header = ["selector", "scikit-learn", "ours", "ratio", "IoU", "peak / embeddings"]
    print(table(header if arguments.rounds else [header[0], header[2]], rows))


def _ours_alone(selector: Any, data: Any) -> float:
    """Return the median seconds of three selections, after one to warm up."""

    def keep() -> torch.Tensor:
        return selector.select(data).keep.cpu()

    keep()
    return median(timed(keep)[0] for _ in range(3))


def curves(arguments: argparse.Namespace) -> None:
    """Print and plot time and memory against N."""
    print(f"{machine(arguments.device)}\n")
    names = arguments.selectors
    found = {
        (name, n): in_new_process("memory", name, n, 14, arguments.device)
        for n in arguments.sizes
        for name in names
    }
    header = ["N", *(f"`{name}`" for name in names), "peak / embeddings", "peak of the process"]
    rows = []
    for n in arguments.sizes:
        at = [found[name, n] for name in names]
        rows.append(
            [
                f"{n:,}".replace(",", " "),
                *(seconds(f["seconds"]) + ("" if f["whole"] else " *") for f in at),
                " / ".join(f"{f['times_embeddings']:.2f}" for f in at),
                f"{max(f['mib'] for f in at) / 1024:.2f} GiB",
            ]
        )
    print(table(header, rows))
    if not all(f["whole"] for f in found.values()):
        print(f"\n\\* from {_SLICE} queries against all N, times N / {_SLICE}.")
    _plot(arguments.sizes, names, found, PLOT)


def memory(name: str, n: int, n_classes: int, device: str) -> None:
    """Print time and peak memory of one selector; run in a process of its own."""
    from synthetic import synthetic

    # A first call on little data loads libraries, starts threads: memory that is no matter of N.
    selector: Any = get_selector(name)
    selector.select(synthetic(20_000, 5, 64, device=device)[0])
    data, _ = synthetic(n, n_classes, D, device=device)
    whole = name != "clip-knn" or n <= _WHOLE_KNN or device != "cpu"
    before = PeakMemory(torch.device(device))
    start_mib = before.mib()
    taken, _ = timed((lambda: selector.select(data)) if whole else lambda: _some_neighbours(data))
    embeddings = n * D * 4 / 2**20
    result = {
        "seconds": taken if whole else taken * n / _SLICE,
        "whole": whole,
        "mib": before.mib(),
        "times_embeddings": 1 + (before.mib() - start_mib) / embeddings,
    }
    print(json.dumps(result))


def steps(arguments: argparse.Namespace) -> None:
    """Print where the time of clipcleaner goes, ours and scikit-learn's."""
    import baselines
    from synthetic import synthetic

    from nlbench.scoring import gmm_posterior_per_class, log_probability

    data, _ = synthetic(arguments.n, arguments.classes[0], D)
    x, y, n_classes, texts, _ = baselines.on(data)
    images, labels, prompts = data.embeddings(), data.noisy_labels, data.text_embeddings()
    zero_shot = zero_shot_probabilities(images, prompts, 0.07)
    score = log_probability(zero_shot, labels)
    cases: dict[str, tuple[Any, Any]] = {
        "zero-shot": (
            lambda: baselines.zero_shot(x, texts),
            lambda: zero_shot_probabilities(images, prompts, 0.07),
        ),
        "probe": (
            lambda: baselines.probe(x, y),
            lambda: probe_probabilities(images, labels, n_classes),
        ),
        "mixtures of one score": (
            lambda: baselines.criteria(zero_shot.numpy(), y),
            lambda: (gmm_posterior_per_class(score, labels), consistency(zero_shot, labels)),
        ),
    }
    rows = []
    for name, (baseline, ours) in cases.items():
        pair = in_turns(baseline, ours, arguments.rounds)
        rows.append([name, seconds(pair.baseline_s), seconds(pair.ours_s), f"{pair.ratio:.1f}"])
    print(table(["step", "scikit-learn", "ours", "ratio"], rows))


def _some_neighbours(data: Any) -> None:
    embeddings = data.embeddings()
    nearest, block = neighbour_search(embeddings, 200)
    for _ in over_blocks(nearest, _SLICE, block, embeddings.device):
        pass


def _quality(data: Any, clean: Any) -> str:
    """Return how hard the data is."""
    images, labels = data.embeddings(), data.noisy_labels
    zero_shot = zero_shot_probabilities(images, data.text_embeddings(), 0.07)
    probe = probe_probabilities(images, labels, data.n_classes)
    keep = get_selector("clipcleaner").select(data).keep  # type: ignore[union-attr,call-arg]
    right = [float((p.argmax(dim=1) == clean).float().mean()) for p in (zero_shot, probe)]
    return (
        f"zero-shot is right on {right[0]:.1%}, the probe on {right[1]:.1%}; of the labels "
        f"{float((labels == clean).float().mean()):.1%} are clean, of those that clipcleaner "
        f"keeps {float((labels == clean)[keep].float().mean()):.1%}."
    )


def _plot(sizes: list[int], names: list[str], found: dict[Any, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name in names:
        at = [found[name, n] for n in sizes]
        (line,) = left.loglog(sizes, [f["seconds"] for f in at], "o-", label=name)
        extra = [
            (f["times_embeddings"] - 1) * n * D * 4 / 2**20 for f, n in zip(at, sizes, strict=True)
        ]
        right.loglog(sizes, extra, "o-", color=line.get_color(), label=name)
    right.loglog(sizes, [n * D * 4 / 2**20 for n in sizes], "k--", label="the embeddings")
    for axes, what in ((left, "seconds"), (right, "MiB beside the embeddings")):
        axes.set(xlabel="samples", ylabel=what)
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
