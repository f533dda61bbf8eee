"""`nlbench leaderboard` on 5 000 records, in a process of its own: seconds and peak memory.

Once the leaderboard alone, once with a page per run, every run with its decisions and images.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc"),
]

N_BOARDS, N_SELECTORS, N_SEEDS, N_EPOCHS, K = 25, 10, 20, 30, 10
# A new process inherits the peak of the one that started it in getrusage, but not in VmHWM.
LEADERBOARD = """
import os, re, sys, time
from pathlib import Path
from nlbench.cli import main
sys.argv = ["nlbench", "leaderboard", os.environ["PAGES"]]
try:
    main()
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
    Path(os.environ["NLBENCH_HOME"], "used").write_text(f"{time.process_time()} {peak}")
"""


def record(board: int, selector: int, seed: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return a record as large as a real one: curves, histogram, matrix, configuration."""
    accuracy = float(np.clip(0.9 - 0.01 * selector + 0.005 * rng.standard_normal(), 0, 1))
    shares = dict.fromkeys(("precision", "recall", "f1", "auroc", "auprc"), accuracy)
    settings = {f"setting_{i}": i for i in range(20)}
    return {
        "schema": 1,
        "fingerprint": f"{board:02d}{selector:02d}{seed:02d}".ljust(64, "0"),
        "status": "finished",
        "selector": {"name": f"selector-{selector}", "params": settings,
                     "is_bound": selector == 0},
        "versions": {"selector": 1, "trainer": 1, "training": 1, "noise": 1, "dataset": 1},
        "dataset": {"name": f"data-{board}", "fingerprint": f"{board:064d}", "n_train": 50000,
                    "n_test": 10000, "n_classes": K, "class_names": [f"c{k}" for k in range(K)]},
        "noise": {"kind": "symmetric", "nominal_rate": 0.4, "realized_rate": 0.4,
                  "sha256": f"{board:032d}{seed:032d}",
                  "transition_matrix": rng.dirichlet(np.ones(K), K).tolist(),
                  "realized_rate_per_class": [0.4] * K},
        "seed": seed,
        "protocol": {"id": "v1", "sha256": "p" * 64, "version": 1,
                     "settings": {"training": settings}},
        "method": f"selector-{selector}",
        "trainer": {"name": "cross-entropy", "params": settings},
        "metrics": {
            "selection": {**shares, "kept_fraction": 0.6, "noise_rate_before": 0.4,
                          "noise_rate_after": 0.1, "worst_class_recall": 0.5,
                          "recall_per_class": [0.5] * K},
            "test": {"accuracy_last": accuracy, "accuracy_noisy_val": accuracy,
                     "accuracy_best_oracle": accuracy, "accuracy_per_class": [accuracy] * K},
        },
        "curves": {name: rng.random(N_EPOCHS).tolist()
                   for name in ("train_loss", "test_accuracy", "noisy_val_accuracy")},
        "score_histogram": {"edges": rng.random(41).tolist(), "clean": [7.0] * 40,
                            "noisy": [3.0] * 40},
        "times": {"total_s": 100.0, "train_s": 90.0},
        "environment": {"device": "cpu", "packages": {"torch": "2.6.0", "nlbench": "0.1.0"}},
        "config": {"selector": settings, "trainer": settings, "protocol": settings},
        "command": f"nlbench run --selector selector-{selector} --seed {seed}",
        "started_at": "2026-01-01T00:00:00.000+00:00",
        "finished_at": "2026-01-01T00:01:40.000+00:00",
    }  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    beside = files_beside(rng)
    cells = [(b, s, r) for b in range(N_BOARDS) for s in range(N_SELECTORS) for r in range(N_SEEDS)]
    for cell in cells:
        content = record(*cell, rng)
        path = folder / "runs" / content["fingerprint"] / "record.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content, indent=1))
        for name, data in beside.items():
            (path.parent / name).write_bytes(data)
    assert len(cells) == 5000
    return folder


def files_beside(rng: np.random.Generator) -> dict[str, bytes]:
    """Return what a run of digits leaves: 1 293 decisions, 360 predictions, 24 images."""
    n, m = 1293, 360
    selection = {"index": np.arange(n), "id": [f"digits/{i:04d}" for i in range(n)],
                 "noisy_label": rng.integers(0, K, n), "clean_label": rng.integers(0, K, n),
                 "score": rng.random(n), "keep": rng.random(n) < 0.6}  # fmt: skip
    predictions = {"label": rng.integers(0, K, m), "predicted": rng.integers(0, K, m)}
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + rng.bytes(110)).decode()
    sample = {"id": "digits/0000", "noisy_label": 1, "clean_label": 7, "score": 0.5, "keep": True,
              "png": png}  # fmt: skip
    kinds = ("kept-noisy", "dropped-clean")
    groups = [{"key": kind, "n": 30, "samples": [sample] * 12} for kind in kinds]
    gallery = json.dumps({"format": "nlbench-gallery/1", "groups": groups})
    found = {"gallery.json": gallery.encode()}
    for name, columns in (("selection", selection), ("predictions", predictions)):
        stream = io.BytesIO()
        pq.write_table(pa.table(columns), stream)
        found[f"{name}.parquet"] = stream.getvalue()
    return found


def run_leaderboard(home: Path, pages: str) -> tuple[float, float]:
    """Build it; give seconds of CPU time and peak MiB."""
    environment = {**os.environ, "NLBENCH_HOME": str(home), "OMP_NUM_THREADS": "1", "PAGES": pages}
    command = [sys.executable, "-c", LEADERBOARD]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    cpu_s, peak_kib = map(float, (home / "used").read_text().split())
    return cpu_s, peak_kib / 1024


def test_leaderboard_of_5000_records(benchmark: Any, home: Path) -> None:
    used = []
    benchmark.pedantic(lambda: used.append(run_leaderboard(home, "--no-run-pages")),
                       rounds=3, iterations=1)  # fmt: skip
    cpu_s, peak_mib = used[-1]
    benchmark.extra_info.update(cpu_s=cpu_s, peak_mib=peak_mib)
    print(f"\nbest of 3: {benchmark.stats['min']:.2f} s; last: {cpu_s:.2f} s of CPU time, "
          f"peak {peak_mib:.0f} MiB")  # fmt: skip
    assert cpu_s < 5
    assert (home / "leaderboard" / "index.html").stat().st_size > 1_000_000
    assert peak_mib < 500


def test_leaderboard_with_5000_run_pages(benchmark: Any, home: Path) -> None:
    used = []
    benchmark.pedantic(lambda: used.append(run_leaderboard(home, "--run-pages")),
                       rounds=1, iterations=1)  # fmt: skip
    cpu_s, peak_mib = used[-1]
    pages = list((home / "leaderboard" / "runs").glob("*.html"))
    size = sum(page.stat().st_size for page in pages) / 2**20
    print(f"\n{benchmark.stats['min']:.2f} s; {cpu_s:.2f} s of CPU time, peak {peak_mib:.0f} MiB, "
          f"pages {size:.0f} MiB")  # fmt: skip
    assert len(pages) == 5000
    assert cpu_s < 40
    assert peak_mib < 500
