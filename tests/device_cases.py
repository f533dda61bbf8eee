"""Small runs of every kind, alone or as one of several processes: `python device_cases.py OUT NAME...`.

Started by `started`, in an environment like torchrun's; the first process writes what came out.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nlbench

HERE = Path(__file__).parent
TRAINER = HERE / "two_views.py"
SMALL = {"trainer.batch_size": 63, "protocol.val_fraction": 0.5, "trainer.epochs": 2}
FROZEN = {"trainer.network": "frozen:bundled-clip", "trainer.augmentation": "none"}

CASES: dict[str, dict[str, Any]] = {
    "batch norm": {"selector": "none"},
    "frozen head": {"selector": "none", "settings": FROZEN},
    "per batch": {"selector": "co-teaching"},
    "joint loss": {"selector": "jocor"},
    "state of samples": {"selector": "none", "trainer": "elr"},
    "learned state": {"selector": "none", "trainer": "sop"},
    "margins, rounds": {"selector": "aum"},
    "predictions in training": {"selector": "wrong-event"},
    "input gradients": {"selector": "early-cutting"},
    "two sets": {"selector": "dividemix"},
    "features": {"selector": "clipcleaner", "trainer": "mixfix"},
    "unlabelled": {"selector": "small-loss", "trainer": "two-views", "plugins": [TRAINER]},
}


def ran(name: str, home: Path) -> dict[str, Any]:
    """Return what came out of a run."""
    case = dict(CASES[name])
    settings = {**SMALL, **case.pop("settings", {})}
    record = nlbench.run(device="cpu", track=False, home=home, settings=settings, **case)
    samples = home / "runs" / record.fingerprint / "selection.csv"
    return {"record": json.loads(record.to_json()), "samples": str(samples)}


def main(out: str, names: Sequence[str]) -> None:
    home = Path(os.environ["NLBENCH_HOME"])
    results = {name: ran(name, home) for name in names}
    if os.environ.get("RANK", "0") == "0":
        Path(out).write_text(json.dumps(results))


def started(n: int, words: Sequence[str], home: Path) -> list[subprocess.Popen[str]]:
    """Start a Python command in `n` processes that share a run."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    shared = {
        **os.environ,
        "NLBENCH_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(n),
        "LOCAL_WORLD_SIZE": str(n),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    return [
        subprocess.Popen(
            [sys.executable, *words],
            env={**shared, "RANK": str(i), "LOCAL_RANK": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(n)
    ]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or list(CASES))
