"""Do selectors find the labels that people call wrong? Prints docs/validation.md's table.

CIFAR-10's test images are taken as a data set to clean, labels as shipped, no noise added: linear
heads on frozen features as in the recipe features/cifar10, every image to select from. Suspicion
is minus a selector's score. What it is compared with was not made by nlbench:

    DIR/label_errors/  cifar10_mturk.json, cifar10_test_set_original_labels.npy and _pyx.npy of
                       github.com/cleanlab/label-errors: five people on each of 275 labels
    DIR/cifar10h/      cifar10h-counts.npy of github.com/jcpeterson/cifar-10h: fifty on all images
    DIR/cifar10/ or DIR/cifar-10-batches-py/: the images, in torchvision's order

    python tools/outside_truth.py --data-dir DIR

Needs nlbench[photos] and cleanlab. Methods on CLIP are in where its weights can be loaded.
Finished runs are kept under --home: a command that was stopped goes on.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from cleanlab.rank import get_label_quality_scores
from outside_figures import (
    COUNTS,
    LABELS,
    N_TOP,
    RELEASED,
    VERDICTS,
    Figures,
    Floats,
    Truth,
    figures,
    read_truth,
    standard_error,
)

import nlbench
from nlbench.plugins import registry
from nlbench.results.samples import SELECTION_FILE
from nlbench.results.store import RunStore

PLUGINS = sorted((Path(__file__).parent / "outside_plugins").glob("*.py"))
RANKINGS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy", "ratio")


def methods() -> list[str]:
    """Return the selectors that rank, told no rate, and the rankings beside them."""
    words = []
    for name in registry.selector_names():
        cls = registry.selector_class(name)
        if registry.find("selectors", name).path in PLUGINS or cls.is_bound or cls.is_reference:
            continue
        told = "noise rate" in registry.get_selector(name).knowledge_used()
        words.append(f"{name}:noise_rate=estimated" if told else name)
    return [*words, *(f"probe-ranking:by={ranking}" for ranking in RANKINGS)]


def suspicion_of(method: str, seed: int, asked: argparse.Namespace, truth: Truth) -> Floats:
    """Run a method and return minus its score, (N,).

    Raises:
        DataError: if weights or images are missing, or the images are in another order.
    """
    selector = registry.selector_class(method.partition(":")[0])
    record = nlbench.run(
        method,
        "cifar10-test",
        "none",
        seed=seed,
        # A selector that answers before the training has nothing from a longer one.
        epochs=1 if issubclass(selector, nlbench.Selector) else None,
        settings={
            "protocol.val_fraction": 0.0,
            "protocol.image_encoder": asked.encoder,
            "trainer.network": f"frozen:{asked.encoder}",
        },
        data_dir=asked.data_dir,
        home=asked.home,
        track=False,
    )
    answer = pq.read_table(RunStore(asked.home).folder(record.fingerprint) / SELECTION_FILE)
    if not np.array_equal(answer["noisy_label"].to_numpy(), truth.labels):
        raise nlbench.DataError(
            f"the test images in '{asked.data_dir}' must be in torchvision's order, and their "
            f"labels are not those of {LABELS}. Use torchvision's or Hugging Face's copy."
        )
    return -answer["score"].to_numpy().astype(np.float64)


def row(method: str, seeds: Sequence[Figures]) -> str:
    """Return a line of the table: means, with the deviation over seeds where there are several."""
    cells = [f"`{method}`"]
    for name in ("auroc", "auroc_judged", "auroc_outvoted", "spearman"):
        values = [getattr(one, name) for one in seeds]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.3f}{spread}")
    tops = ("top_confirmed", "top_judged", "top_outvoted")
    mean = [statistics.mean(getattr(one, name) for one in seeds) for name in tops]
    cells += [f"{mean[0]:.1f} / {mean[1]:.1f}", f"{mean[2]:.1f}"]
    return f"| {' | '.join(cells)} |"


def table(results: dict[str, list[Figures]], truth: Truth) -> str:
    """Return the table, the best AUROC for confirmed errors first."""
    n, n_judged, n_confirmed = len(truth.labels), truth.judged.sum(), truth.confirmed.sum()
    both = (truth.confirmed & truth.outvoted).sum()
    head = [
        "method",
        f"AUROC: {n_confirmed} confirmed among {n}",
        f"... among {n_judged} judged",
        f"AUROC: {truth.outvoted.sum()} outvoted",
        "Spearman with entropy",
        f"top {N_TOP}: confirmed / judged",
        f"top {N_TOP}: outvoted",
    ]
    order = sorted(results, key=lambda name: -statistics.mean(f.auroc for f in results[name]))
    return "\n".join(
        [
            f"{both} of the {n_confirmed} confirmed errors are outvoted.\n",
            f"| {' | '.join(head)} |",
            f"| --- {'| ---: ' * (len(head) - 1)}|",
            *(row(name, results[name]) for name in order),
        ]
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run all methods that can run, print the table and what was left out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--home", type=Path, default=Path("nlbench-runs/outside-truth"))
    parser.add_argument("--encoder", default="efficientnet-lite0:112", help="of the image features")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", help="default: all that rank labels")
    asked = parser.parse_args(words)
    for name in (LABELS, VERDICTS, RELEASED, COUNTS):
        if not (asked.data_dir / name).is_file():
            parser.error(f"'{asked.data_dir / name}' does not exist: --help says where it is from.")
    for file in PLUGINS:
        registry.add_plugin_file(file)
    truth = read_truth(asked.data_dir)
    released = -get_label_quality_scores(truth.labels, np.load(asked.data_dir / RELEASED))
    results = {"the released network's self_confidence": [figures(released, truth)]}
    errors: list[float] = []
    left_out: dict[str, list[str]] = {}
    for method in asked.methods or methods():
        try:
            found = [suspicion_of(method, seed, asked, truth) for seed in asked.seeds]
        except nlbench.NlbenchError as error:
            left_out.setdefault(str(error), []).append(method)
            continue
        results[method] = [figures(one, truth) for one in found]
        errors.append(standard_error(found[0], truth))
        print(row(method, results[method]), file=sys.stderr, flush=True)
    print(table(results, truth))
    if errors:
        print(
            f"\nStandard error over images, first column: {min(errors):.3f} to {max(errors):.3f}."
        )
    for reason, names in left_out.items():
        print(f"\nLeft out: {', '.join(names)}: {reason}")
    return 0 if errors else 1


if __name__ == "__main__":
    sys.exit(main())
