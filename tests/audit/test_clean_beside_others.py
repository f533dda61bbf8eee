"""tools/clean_beside_others.py on a few images and made-up features."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_on_disk import N_TEST, labels, put_parquet
from lite0_package import weights_of_ours

FILE = Path(__file__).parents[2] / "tools" / "clean_beside_others.py"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FILE.parent))
    spec = importlib.util.spec_from_file_location("clean_beside_others", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def features(tmp_path: Path) -> tuple[Path, Any, Any]:
    """Write 120 features in three heaps; five labels are of another heap."""
    rng = np.random.default_rng(0)
    own = np.arange(120) % 3
    x = (np.eye(3)[own] * 4 + rng.normal(size=(120, 3))).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    given = own.copy()
    given[:5] = (own[:5] + 1) % 3
    return tmp_path / "x.npy", given, given != own


@pytest.mark.parametrize(
    "method", ["nlbench clean", "cleanlab 2.9, the same probe", "cleanlab 2.9, CleanLearning's own"]
)
def test_each_method_ranks_in_a_process_of_its_own(
    method: str, tool: Any, features: tuple[Path, Any, Any]
) -> None:
    file, given, wrong = features
    answer = tool.measured(method, file, given)
    assert not isinstance(answer, str), answer
    scores, seconds, mib = answer
    assert set(np.argsort(scores)[:5]) == set(np.flatnonzero(wrong))
    assert seconds > 0
    assert mib > 50


def test_the_same_probe_is_the_same_probe(tool: Any, features: tuple[Path, Any, Any]) -> None:
    from cleanlab.rank import get_label_quality_scores

    import nlbench

    file, given, _ = features
    x = np.load(file)
    p = nlbench.clean(labels=given, embeddings=x, pictures=False).probabilities.double()
    expected = get_label_quality_scores(given, (p / p.sum(dim=1, keepdim=True)).numpy())
    assert tool.cleanlab_same_probe(x, given).tolist() == expected.tolist()


def test_the_command_prints_a_table_and_why_a_method_has_no_figures(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two images of each class, of which two labels are confirmed errors: too few to judge."""
    put_parquet(tmp_path)
    own = labels(N_TEST)
    for name in ("label_errors", "cifar10h"):
        (tmp_path / name).mkdir()
    counts = np.zeros((N_TEST, 10), dtype=np.int64)
    counts[np.arange(N_TEST), own] = 50
    verdicts = [{"id": i, "mturk": {"given": 1, "guessed": 4}} for i in (3, 8)]
    (tmp_path / "label_errors/cifar10_mturk.json").write_text(json.dumps(verdicts))
    np.save(tmp_path / "label_errors/cifar10_test_set_original_labels.npy", own.astype(np.uint16))
    np.save(tmp_path / "cifar10h/cifar10h-counts.npy", counts)
    words = ["--data-dir", str(tmp_path), "--only", "verdicts", "--methods", "nlbench clean"]
    monkeypatch.setattr(sys, "argv", [str(FILE), *words])
    with weights_of_ours(tmp_path / "site"):
        assert tool.main() == 0
    shown = capsys.readouterr().out
    assert f"test images, people's verdicts: 2 of {N_TEST} labels are wrong" in shown
    assert "| nlbench clean | nlbench.errors.DataError: at least 2 classes must have" in shown
