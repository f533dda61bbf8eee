"""`cache clear` in a loop while other processes embed and read: nobody fails, no value is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

N_READERS, SECONDS = 3, 6.0

READS = """
import json, sys, time
import torch
from pathlib import Path

import pytest
from nlbench.encoders.cache import EmbeddingCache

folder, number, end = Path(sys.argv[1]), int(sys.argv[2]), time.time() + float(sys.argv[3])
cache, reads, computed, wrong, errors = EmbeddingCache(folder), 0, 0, 0, []
while time.time() < end:
    which = (reads + number) % 4
    values = torch.arange(40, dtype=torch.float32)[:, None] + 100 * which + torch.zeros(1, 3)
    def compute(parts):
        global computed
        for part in parts:
            computed += 1
            yield values[part]
    identity = {"encoder": f"e{which % 2}", "data": f"d{which}", "data_key": f"k{which}"}
    try:
        wrong += not torch.equal(cache.get(identity, 40, compute), values)
        cache.info()
    except Exception as error:
        errors.append(repr(error))
    reads += 1
print(json.dumps({"n": reads, "computed": computed, "wrong": wrong, "errors": errors[:3]}))
"""
CLEARS = """
import json, sys, time
from pathlib import Path

import pytest
from nlbench.encoders.cache import EmbeddingCache

cache, end = EmbeddingCache(Path(sys.argv[1])), time.time() + float(sys.argv[3])
clears, freed, errors = 0, 0, []
while time.time() < end:
    try:
        n_bytes, refused = cache.clear()
        freed += n_bytes > 0
        errors += refused
    except Exception as error:
        errors.append(repr(error))
    clears += 1
print(json.dumps({"n": clears, "freed": freed, "errors": errors[:3]}))
"""

pytestmark = pytest.mark.slow


def test_clearing_under_readers_in_other_processes(tmp_path: Path) -> None:
    codes = [READS] * N_READERS + [CLEARS]
    seconds = SECONDS + 10  # their imports take some
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(number), str(seconds)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number, code in enumerate(codes)
    ]  # fmt: skip
    ends = [process.communicate(timeout=seconds + 120) for process in processes]
    assert all(out for out, _ in ends), [err for _, err in ends]
    *readers, clearer = (json.loads(out) for out, _ in ends)
    print(readers, clearer, time.asctime())
    assert [each["errors"] for each in (*readers, clearer)] == [[]] * len(ends)
    assert sum(each["wrong"] for each in readers) == 0
    # They did meet: what was cleared was computed again, and entries were there to be cleared.
    assert clearer["freed"] > 5
    assert sum(each["computed"] for each in readers) > 8
