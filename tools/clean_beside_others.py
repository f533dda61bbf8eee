"""`nlbench clean` beside cleanlab and FiftyOne: the same features, wrong labels known.

    planted    10 000 training images of CIFAR-10 with 2, 8 and 20 % wrong labels, at random and
               between look-alikes (the classes of the noise kind "asymmetric")
    human      CIFAR-10N whole: majority, first annotator, worst set
    verdicts   CIFAR-10's test images; wrong are the 54 labels that fewer than three of five people
               confirmed (github.com/cleanlab/label-errors)

    python tools/clean_beside_others.py --data-dir DIR [--only planted human verdicts]

DIR as for tools/outside_truth.py, with cifar_n/CIFAR-10_human.pt beside it. Embeddings are made
once and cached. Every method runs in a process of its own, one after the other: seconds begin
after the imports, peak memory counts them (Linux). Needs nlbench[photos] and
cleanlab; Datalab needs `datasets`, FiftyOne is asked where it is installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TOPS = (50, 100, 200)
ENCODER = "efficientnet-lite0:112"
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def nlbench_clean(x: Floats, labels: Ints) -> Floats:
    """Return the score of `nlbench.clean` from cached embeddings."""
    import nlbench

    audit = nlbench.clean(labels=labels, embeddings=x, pictures=False)
    share = audit.noise_rate
    print(f"nlbench clean says {share.value:.1%}, {share.low:.1%} to {share.high:.1%}")
    return audit.table["score"].to_numpy()


def cleanlab_same_probe(x: Floats, labels: Ints) -> Floats:
    """Return cleanlab's default ranking of the probabilities of nlbench's probe."""
    from cleanlab.rank import get_label_quality_scores

    import nlbench

    audit = nlbench.clean(labels=labels, embeddings=x, pictures=False)
    p = audit.probabilities.double()
    scores: Floats = get_label_quality_scores(labels, (p / p.sum(dim=1, keepdim=True)).numpy())
    return scores


def cleanlab_default(x: Floats, labels: Ints) -> Floats:
    """Return the ranking of CleanLearning with its own classifier and folds."""
    from cleanlab.classification import CleanLearning

    found = CleanLearning(seed=0).find_label_issues(x, labels)
    scores: Floats = found["label_quality"].to_numpy()
    return scores


def datalab_features(x: Floats, labels: Ints) -> Floats:
    """Return Datalab's label score from features alone."""
    from cleanlab import Datalab

    lab = Datalab({"label": labels.tolist()}, label_name="label", verbosity=0)
    lab.find_issues(features=x, issue_types={"label": {}})
    scores: Floats = lab.get_issues("label")["label_score"].to_numpy()
    return scores


def fiftyone_mistakenness(x: Floats, labels: Ints) -> Floats:
    """Return minus FiftyOne's mistakenness, from the probabilities of nlbench's probe."""
    import fiftyone as fo
    import fiftyone.brain as fob

    import nlbench

    audit = nlbench.clean(labels=labels, embeddings=x, pictures=False)
    data = fo.Dataset()
    data.add_samples(
        fo.Sample(
            filepath=f"/{i}.jpg",
            given=fo.Classification(label=str(label)),
            predicted=fo.Classification(
                label=str(int(p.argmax())), confidence=float(p.max()), logits=np.log(p + 1e-12)
            ),
        )
        for i, (label, p) in enumerate(zip(labels, audit.probabilities.numpy(), strict=True))
    )
    fob.compute_mistakenness(data, "predicted", label_field="given", use_logits=True)
    return -np.array(data.values("mistakenness"), dtype=np.float64)


METHODS: dict[str, Callable[[Floats, Ints], Floats]] = {
    "nlbench clean": nlbench_clean,
    "cleanlab 2.9, the same probe": cleanlab_same_probe,
    "cleanlab 2.9, CleanLearning's own": cleanlab_default,
    "Datalab, features alone": datalab_features,
    "FiftyOne mistakenness, the same probe": fiftyone_mistakenness,
}


def cases(data_dir: Path, only: list[str]) -> Iterator[tuple[str, Path, Ints, npt.NDArray[Any]]]:
    """Yield a name, the file of the features, the labels given, and which are wrong."""
    folder = Path(tempfile.mkdtemp())
    train, test, clean = embedded(data_dir, folder)
    if "planted" in only:
        yield from planted(train, clean, folder)
    if "human" in only:
        for name in ("aggre", "random1", "worse"):
            labels = human_labels(data_dir, clean, name)
            yield f"CIFAR-10N {name}", train, labels, labels != clean
    if "verdicts" in only:
        from outside_figures import read_truth

        truth = read_truth(data_dir)
        yield "test images, people's verdicts", test, truth.labels, truth.confirmed


def human_labels(data_dir: Path, clean: Ints, name: str) -> Ints:
    """Return a set of CIFAR-10N's labels, (50000,)."""
    from nlbench.noise.corrupt import corrupt

    file = data_dir / "cifar_n" / "CIFAR-10_human.pt"
    return corrupt(
        clean, n_classes=10, kind="human", seed=0, dataset="cifar10n", dataset_label_file=file,
        label_set=name,
    ).labels  # fmt: skip


def planted(
    train: Path, clean: Ints, folder: Path
) -> Iterator[tuple[str, Path, Ints, npt.NDArray[Any]]]:
    """Yield 10 000 images with labels that nlbench's own noise made wrong."""
    from nlbench.noise.corrupt import corrupt

    file, n = folder / "planted.npy", 10_000
    np.save(file, np.load(train, mmap_mode="r")[:n])
    for kind in ("symmetric", "asymmetric"):
        for rate in (0.02, 0.08, 0.2):
            noisy = corrupt(
                clean[:n], n_classes=10, kind=kind, rate=rate, seed=0, dataset="cifar10"
            )
            yield f"planted, {kind} {rate:.0%}", file, noisy.labels, noisy.labels != clean[:n]


def embedded(data_dir: Path, folder: Path) -> tuple[Path, Path, Ints]:
    """Return the files of the features of CIFAR-10's images, and the training labels."""
    import torch

    from nlbench.encoders.cache import EmbeddingCache
    from nlbench.encoders.features import cached_embeddings, load_encoder
    from nlbench.plugins.registry import make_component

    data = make_component("datasets", "cifar10", {}).load(data_dir)
    for part, images in (("train", data.train_images), ("test", data.test_images)):
        key, cpu = (data.name, f"{data.fingerprint}/{part}"), torch.device("cpu")
        x = cached_embeddings(images, key, load_encoder(ENCODER), cpu, EmbeddingCache())
        np.save(folder / f"{part}.npy", x.numpy())
    return folder / "train.npy", folder / "test.npy", data.train_labels


def measured(method: str, features: Path, labels: Ints) -> tuple[Floats, float, float] | str:
    """Run a method in a process of its own; return scores, seconds, MiB, or why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/labels.npy", labels)
        words = [sys.executable, __file__, "--worker", method, str(features), folder]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1][:200]
        *said, last = done.stdout.splitlines()
        print(*said, sep="\n", file=sys.stderr, end="\n" if said else "")
        facts = json.loads(last)
        return np.load(f"{folder}/scores.npy"), facts["seconds"], facts["mib"]


def worker(method: str, features: str, folder: str) -> None:
    """Run one method and write its scores."""
    import nlbench.audit.clean  # noqa: F401 - both, so that no import is timed

    x, labels = np.load(features), np.load(f"{folder}/labels.npy")
    started = time.perf_counter()
    np.save(f"{folder}/scores.npy", METHODS[method](x, labels))
    seconds = time.perf_counter() - started
    # Not `getrusage`: its peak begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    mib = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"seconds": seconds, "mib": mib}))


def main() -> int:
    """Print a table per case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR")
    every = ["planted", "human", "verdicts"]
    parser.add_argument("--only", nargs="+", choices=every, default=every)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    asked = parser.parse_args()
    from sklearn.metrics import roc_auc_score

    for name, features, labels, wrong in cases(asked.data_dir, asked.only):
        print(f"\n{name}: {wrong.sum()} of {len(wrong)} labels are wrong\n")
        tops = " | ".join(f"of the first {n}" for n in TOPS)
        print(f"| method | {tops} | AUROC | s | MiB |")
        print("| --- |" + " ---: |" * (len(TOPS) + 3))
        for method in asked.methods:
            if "FiftyOne" in method and find_spec("fiftyone") is None:
                continue
            answer = measured(method, features, labels)
            if isinstance(answer, str):
                print(f"| {method} | {answer} |", flush=True)
                continue
            scores, seconds, mib = answer
            first = wrong[np.argsort(scores, kind="stable")]
            tops = " | ".join(str(int(first[:n].sum())) for n in TOPS)
            auroc = roc_auc_score(~wrong, scores)
            print(f"| {method} | {tops} | {auroc:.4f} | {seconds:.1f} | {mib:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        sys.exit(main())
