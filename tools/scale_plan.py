"""Prints the tables of docs/scale.md: what is measured here, and what follows for 10^8 images.

    python tools/scale_plan.py storage
    python tools/scale_plan.py hours
    python tools/scale_plan.py queue
    python tools/scale_plan.py neighbours --data-dir DIR    # needs nlbench[photos] and CIFAR-10N
    python tools/scale_plan.py mlflow
    python tools/scale_plan.py all --small      # every section in a minute; numbers of no use

Each line says whether a number was measured by this command, follows from such numbers by the rule
beside it, or is cited.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from scaling import neighbours, schedule, storage, tracking
from timings.timing import machine, table

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "leaderboard" / "records"

N, N_CELLS, N_GPUS, D = 10**8, 10**4, 100, 512

# Images/s of one RTX 4090, mixed precision, channels last, batches of 512, from timm's
# results/benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv.
CITED_IMAGES_PER_S = {
    "vit_base_patch32_clip_224": 10419.24,
    "vit_base_patch16_clip_224": 2840.98,
    "vit_large_patch14_clip_224": 677.32,
}
# 419 unexpected interruptions of 16 384 GPUs in 54 days: "The Llama 3 Herd of Models", table 5,
# arXiv 2407.21783.
CITED_HOURS_BETWEEN = 54 * 24 * 16384 / 419
# 45 000 samples, 30 epochs: what the committed runs on photographs are.
RECORDED_N, RECORDED_EPOCHS = 45_000, 30


def main() -> None:
    """Print the sections asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("section", choices=[*SECTIONS, "all"])
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--data-dir", type=Path, help="neighbours: CIFAR-10's photographs, too")
    parser.add_argument("--home", type=Path, help="mlflow: a home to fill and keep")
    asked = parser.parse_args()
    print(machine("cpu"))
    for name in SECTIONS if asked.section == "all" else [asked.section]:
        print(f"\n## {name}\n")
        if name == "neighbours":
            print_neighbours(asked.small, asked.data_dir)
        elif name == "mlflow":
            print_mlflow(asked.small, asked.home)
        else:
            SECTIONS[name](asked.small)


def print_storage(small: bool) -> None:
    """Print bytes of embeddings and of what runs write."""
    each = storage.evidence(10_000 if small else 1_000_000)
    rows = [
        [f"embeddings, d = {D}, {name}", str(D * size), _size(N * D * size), "follows"]
        for name, size in (("float32, as today", 4), ("float16", 2), ("8 bits", 1))
    ]
    shares = ", ".join(f"{name} {size:.1f}" for name, size in each.columns.items())
    slim = sum(each.columns[name] for name in ("score", "keep"))
    rows += [
        [f"one run's samples ({shares})", f"{each.bytes_each:.1f}", _size(N * each.bytes_each),
         f"measured at {each.n:,}, x {N // each.n:,}"],
        [f"of {N_CELLS:,} runs", "", _size(N * N_CELLS * each.bytes_each), "follows"],
        [f"the same, score and keep alone, of {N_CELLS:,} runs", f"{slim:.1f}",
         _size(N * N_CELLS * slim), "follows"],
        ["the same, keep as one bit and score in 8 bits", "1.1",
         _size(N * N_CELLS * 9 / 8), "follows"],
    ]  # fmt: skip
    print(table(["what", "bytes a sample", f"at {N:,}", "how known"], rows))
    seconds = N * each.write_us / 1e6
    print(f"\nWriting and reading back: {each.write_us:.2f} µs a sample, {seconds:,.0f} s a run.")


def print_hours(small: bool) -> None:
    """Print hours of embedding, and of cells as the committed ones are."""
    one = storage.decoding(64 if small else 1024)
    print(
        f"Decoding and scaling a JPEG of 500 x 375 ({one.bytes_each / 1000:.0f} kB): "
        f"{one.ms:.2f} ms of one core, measured; {_size(N * one.bytes_each)} and "
        f"{N * one.ms / 3.6e6:,.0f} core hours for {N:,} images.\n"
    )
    rows = []
    for name, per_s in CITED_IMAGES_PER_S.items():
        hours = N / per_s / 3600
        cores, rate = per_s * one.ms / 1000, per_s * one.bytes_each / 1e9
        rows.append([f"`{name}`", f"{per_s:,.0f}", f"{hours:.1f}", f"{hours * 60 / N_GPUS:.1f}",
                     f"{cores:.0f}", f"{rate * N_GPUS:.0f}"])  # fmt: skip
    head = ["encoder", "images/s, cited", "hours, 1 GPU", f"minutes, {N_GPUS} GPUs",
            "cores per GPU to decode", f"GB/s to read, {N_GPUS} GPUs"]  # fmt: skip
    print(table(head, rows))
    seconds = schedule.run_seconds(RECORDS)
    core_h = seconds * (N / RECORDED_N) / 3600
    print(
        f"\nCells on frozen features: {len(seconds):,} committed runs ({RECORDED_N:,} samples, "
        f"{RECORDED_EPOCHS} epochs, one core) took {seconds.mean():.1f} s on average, median "
        f"{np.median(seconds):.1f}, most {seconds.max():.0f}. In proportion to N, which methods "
        f"with neighbours exceed: {core_h.mean():.1f} core hours a cell, "
        f"{core_h.mean() * N_CELLS:,.0f} for {N_CELLS:,} cells."
    )
    per_epoch = N * D * 2 / 1e9
    print(
        f"An epoch reads {per_epoch:.0f} GB (float16): {per_epoch / 5:.0f} s at 5 GB/s (one NVMe "
        f"disk, assumed), {per_epoch / 25:.0f} s at 25 GB/s (host to GPU, assumed)."
    )


def print_queue(small: bool) -> None:
    """Print how long a grid takes on GPUs that are interrupted."""
    n_cells, n_gpus = (300, 10) if small else (N_CELLS, N_GPUS)
    print(
        f"{n_cells:,} cells on {n_gpus} GPUs; spread of lengths as committed. Start 2 min. Hours "
        f"to the last cell, and GPU hours in units of the work. A machine fails every "
        f"{CITED_HOURS_BETWEEN:,.0f} hours per GPU (cited) and is away 2 h.\n"
    )
    rows = []
    for mean_h in (0.5, 2.0, 8.0, 24.0):
        rng = np.random.default_rng(0)
        lengths = schedule.lengths_like_records(RECORDS, n_cells, mean_h, rng)
        for name, between, limit in _SITUATIONS:
            row = [f"{mean_h:g} h", name]
            for checkpoint_h in (None, 0.25):
                cluster = schedule.Cluster(n_gpus, between, 2.0, 2 / 60, checkpoint_h, limit)
                found = schedule.simulate(lengths, cluster, np.random.default_rng(1))
                row.append(_outcome(found, lengths.sum()))
            rows.append([*row, f"{lengths.sum() / n_gpus:,.0f} h"])
    head = ["mean cell", "what interrupts", "without checkpoints", "every 15 min", "work / GPUs"]
    print(table(head, rows))
    cluster = schedule.Cluster(n_gpus, CITED_HOURS_BETWEEN, 2.0, 2 / 60, 0.25)
    lengths = schedule.lengths_like_records(RECORDS, n_cells, 24.0, np.random.default_rng(0))
    first = schedule.simulate(np.sort(lengths)[::-1], cluster, np.random.default_rng(1))
    print(f"\nThe longest cells first, mean 24 h, failures: {first.makespan_h:,.0f} h.")


def _outcome(found: schedule.Outcome, work_h: float) -> str:
    if found.n_never:
        return f"{found.n_never:,} cells never end"
    return f"{found.makespan_h:,.0f} h, {found.spent_h / work_h:.2f}"


_SITUATIONS = (
    ("failures", CITED_HOURS_BETWEEN, np.inf),
    ("and preemption, every 12 h", 1 / (1 / CITED_HOURS_BETWEEN + 1 / 12), np.inf),
    ("and a limit of 4 h", CITED_HOURS_BETWEEN, 4.0),
)


def print_neighbours(small: bool, data_dir: Path | None = None) -> None:
    """Print the recall of an index, and what it changes in a selection."""
    sizes = (2000,) if small else (10_000, 30_000, 100_000, 300_000)
    probes = (1, 4) if small else (1, 4, 16, 64)
    k, n_queries = (20, 200) if small else (200, 500)
    _row("embeddings", "N", "cells", "probes", "compared", "recall", "IoU of what is kept")
    _row(*["---:"] * 7)
    givens = [("drawn", partial(neighbours.drawn, n)) for n in sizes]
    if data_dir is not None:
        givens.insert(0, ("photographs", partial(neighbours.photographs, data_dir)))
    for name, given in givens:
        for one in neighbours.recalls(given(), k, probes, n_queries):
            _row(name, f"{one.n:,}", f"{one.n_cells:,}", str(one.n_probes),
                 f"{100 * one.compared:.2f} %", f"{one.recall:.3f}", f"{one.iou:.3f}")  # fmt: skip


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def print_mlflow(small: bool, home: Path | None = None) -> None:
    """Print seconds and bytes of MLflow's local store as it grows; one that has runs is kept."""
    files = sorted(RECORDS.glob("digits-*.json"), key=lambda path: path.stat().st_size)
    _row("runs, means too", "logged", "processor s each", "list all, s", "a page of 100, s",
         "database, kB a run", "files, kB a run", "files a run")  # fmt: skip
    _row(*["---:"] * 8)
    with tempfile.TemporaryDirectory() as folder:
        for file in files[:1] if small else [*files, RECORDS / "photos-pair.json"]:
            n_new, sync_s = tracking.fill(home or Path(folder), file)
            one = tracking.look(home or Path(folder))
            _row(f"{one.n_runs:,}", f"+ {n_new}", f"{sync_s:.2f}" if n_new else "",
                 f"{one.list_s:.2f}", f"{one.page_s:.2f}", f"{one.database / 1000:.1f}",
                 f"{one.artifacts / 1000:.1f}", f"{one.n_files:.1f}")  # fmt: skip


def _size(n_bytes: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e6:.3g} MB"


SECTIONS = {
    "storage": print_storage,
    "hours": print_hours,
    "queue": print_queue,
    "neighbours": print_neighbours,
    "mlflow": print_mlflow,
}

if __name__ == "__main__":
    main()
