"""Small runs of every kind, in one process or several: `python device_cases.py OUT KIND`.

`started` gives the processes an environment like torchrun's; the first writes what came out.
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
from nlbench.plugins import registry

HERE = Path(__file__).parent
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
    "unlabelled": {
        "selector": "small-loss",
        "trainer": "two-views",
        "plugins": [HERE / "two_views.py"],
    },
}
# Plugins that several processes must refuse, by what is wrong with them.
REFUSED: dict[str, dict[str, Any]] = {
    "unseeded": {"selector": "keep-any"},
    "own loop": {"selector": "none", "trainer": "alone"},
    "past the forward": {"selector": "none", "trainer": "sideways"},
    "diverges": {"selector": "none", "settings": {"trainer.lr": 1e30}},
}
PLUGINS = {
    "keep_any.py": """
from dataclasses import dataclass
import os
import nlbench, torch

@dataclass
class KeepAny(nlbench.OnlineSelector):
    '''Keeps what the process likes.'''
    def select(self, data, dynamics):
        draws = torch.Generator().manual_seed(int(os.environ.get("RANK", 0)))
        keep = torch.rand(data.n_samples, generator=draws) < 0.5
        return nlbench.Selection(keep=keep, score=keep.double())
""",
    "alone.py": """
from dataclasses import dataclass
import torch
from nlbench.training.task import Trainer, TrainingOutcome

@dataclass(frozen=True)
class Alone(Trainer):
    '''A loop of its own.'''
    epochs: int = 2
    batch_size: int = 63
    network: str = "small-cnn"
    def train(self, task):
        outcome = TrainingOutcome(selection=task.selection)
        outcome.test_predictions = torch.zeros(len(task.test_images), dtype=torch.int64)
        outcome.curves = {"train_loss": [1.0, 1.0], "test_accuracy": [0.1, 0.1],
                          "noisy_val_accuracy": [None, None]}
        task.progress(1, 2)
        return outcome
""",
    "sideways.py": """
from dataclasses import dataclass
import torch
import nlbench

@dataclass(frozen=True)
class Sideways(nlbench.LossTrainer):
    '''Its weights move by what the process likes.'''
    def batch_loss(self, batch, outputs, labels, state):
        import os
        with torch.no_grad():
            next(batch.networks[0].parameters()).data.add_(1e-3 * int(os.environ.get("RANK", 0)))
        return torch.stack([torch.nn.functional.cross_entropy(o, labels, reduction="none")
                            for o in outputs])
""",
}


def ran(case: dict[str, Any], home: Path) -> dict[str, Any]:
    """Return what came out of a run."""
    settings = {**SMALL, **case.get("settings", {})}
    case = {**case, "settings": settings}
    record = nlbench.run(device="cpu", track=False, home=home, **case)
    folder = home / "runs" / record.fingerprint
    return {"record": json.loads(record.to_json()), "folder": str(folder)}


def refused(case: dict[str, Any], home: Path) -> dict[str, str]:
    """Return how a run was refused."""
    try:
        ran({**case, "plugins": [home.parent / name for name in PLUGINS]}, home)
    except nlbench.NlbenchError as error:
        return {type(error).__name__: str(error)}
    return {}


def every() -> dict[str, dict[str, Any]]:
    """Return every selector, and every trainer with all samples."""
    trainers = {f"none+{name}": {"trainer": name} for name in registry.components("trainers")}
    return {
        **{name: {"selector": name} for name in registry.selector_names()},
        **{name: {"selector": "none", **case} for name, case in trainers.items()},
    }


def main(out: str, kind: str) -> None:
    home = Path(os.environ["NLBENCH_HOME"])
    if kind == "every":
        results = {name: ran(case, home) for name, case in every().items()}
    else:
        results = {name: ran(case, home) for name, case in CASES.items()}
        results |= {name: refused(case, home) for name, case in REFUSED.items()}
    if os.environ.get("RANK") == "0":
        Path(out).write_text(json.dumps(results))


def started(n: int, words: Sequence[str], home: Path, **more: str) -> list[subprocess.Popen[str]]:
    """Start a Python command in `n` processes that share a run."""
    for name, text in PLUGINS.items():
        (home.parent / name).write_text(text)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    shared = {
        **os.environ,
        "NLBENCH_HOME": str(home),
        "NLBENCH_CACHE": str(home.parent / f"{home.name}-cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(n),
        "LOCAL_WORLD_SIZE": str(n),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        **more,
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


def ended(processes: Sequence[subprocess.Popen[str]], timeout: float = 300) -> list[str]:
    """Return what the processes printed, if all ended well."""
    try:
        printed = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), printed
    return printed


if __name__ == "__main__":
    main(*sys.argv[1:])
