"""One line in a plugin's tests gives a test for each check, under the names of the checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from loose_components import write_all

from nlbench.conformance import CHECKS_BY_KIND

TESTS = """
from dataclasses import dataclass
from typing import ClassVar

from nlbench import Selection, Selector
from nlbench.conformance import dataset_checks, encoder_checks, noise_checks, selector_checks

from my_encoder import mine
from my_noise import swap_two
from my_selector import Mine
from my_stripes import Stripes


@dataclass(frozen=True)
class Blind(Mine):
    conformance_exempt: ClassVar = {
        "check_planted_noise_is_found": "blind", "check_keeps_clean_samples": "blind",
    }


@dataclass(frozen=True)
class Short(Blind):
    def select(self, data):
        answer = super().select(data)
        return Selection(keep=answer.keep[1:], score=answer.score[1:])


test_blind = selector_checks(Blind)
test_short = selector_checks(Short)
test_noise = noise_checks(swap_two)
test_data = dataset_checks(Stripes)
test_encoder = encoder_checks(mine)
"""


def test_each_check_is_a_test(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "test_theirs.py").write_text(TESTS)
    words = ("-m", "pytest", "-v", "-p", "no:cacheprovider", "-o", "addopts=", "test_theirs.py")
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    out = done.stdout
    assert done.returncode == 1, out + done.stderr
    for kind, test in (("noises", "noise"), ("datasets", "data"), ("encoders", "encoder")):
        passed = re.findall(rf"::test_{test}\[[\w-]+\] PASSED", out)
        assert len(passed) == len(CHECKS_BY_KIND[kind]), out  # type: ignore[index]
    assert len(re.findall(r"::test_blind\[[\w-]+\] FAILED", out)) == 0, out
    assert "::test_blind[planted-noise-is-found] XFAIL" in out
    assert "::test_short[answer] FAILED" in out
    assert "::test_short[is-dataclass] PASSED" in out
    assert "tried: The answer is a Selection" in out
    assert "Traceback" not in out
