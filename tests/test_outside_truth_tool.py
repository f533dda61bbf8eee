"""tools/outside_truth.py on a few images whose judgements are made up."""

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

from nlbench.plugins import registry

TOOLS = Path(__file__).parents[1] / "tools"
WRONG = [3, 8]  # confirmed by the five, outvoted by the fifty


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("outside_truth", TOOLS / "outside_truth.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "outside_truth", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write images and what people say of them, as the tool reads both."""
    put_parquet(tmp_path)
    own = labels(N_TEST)
    for name in ("label_errors", "cifar10h"):
        (tmp_path / name).mkdir()
    table = np.full((N_TEST, 10), 0.02)
    table[np.arange(N_TEST), own] += 0.8
    counts = np.zeros((N_TEST, 10), dtype=np.int64)
    counts[np.arange(N_TEST), own] = 50
    for i in WRONG:
        table[i] = table[i, ::-1]
        counts[i, [own[i], (own[i] + 1) % 10]] = 20, 30
    votes = {3: 2, 5: 3, 8: 0, 11: 5}
    verdicts = [{"id": i, "mturk": {"given": n, "guessed": 5 - n}} for i, n in votes.items()]
    (tmp_path / "label_errors/cifar10_mturk.json").write_text(json.dumps(verdicts))
    np.save(tmp_path / "label_errors/cifar10_test_set_original_labels.npy", own.astype(np.uint16))
    np.save(tmp_path / "label_errors/cifar10_test_set_pyx.npy", table)
    np.save(tmp_path / "cifar10h/cifar10h-counts.npy", counts)
    return tmp_path


def test_what_people_said_is_read(tool: Any, folder: Path) -> None:
    truth = tool.read_truth(folder)
    assert truth.labels.tolist() == labels(N_TEST).tolist()
    assert np.flatnonzero(truth.judged).tolist() == [3, 5, 8, 11]
    assert np.flatnonzero(truth.confirmed).tolist() == WRONG
    assert np.flatnonzero(truth.outvoted).tolist() == WRONG
    assert truth.entropy[0] == 0
    assert truth.entropy[8] == pytest.approx(-0.4 * np.log(0.4) - 0.6 * np.log(0.6))


def test_figures_by_hand(tool: Any) -> None:
    """Five labels, the most suspicious first; pairs are counted by hand."""
    truth = tool.Truth(
        labels=np.zeros(5, dtype=np.int64),
        judged=np.array([True, False, True, True, False]),
        confirmed=np.array([False, False, True, False, False]),
        entropy=np.array([0.4, 0.3, 0.2, 0.1, 0.5]),
        outvoted=np.array([True, False, False, True, False]),
    )
    found = tool.figures(np.array([9.0, 7.0, 5.0, 3.0, 1.0]), truth, n_top=3)
    assert found.auroc == pytest.approx(2 / 4)
    assert found.auroc_judged == pytest.approx(1 / 2)
    assert found.auroc_outvoted == pytest.approx(4 / 6)
    assert found.spearman == pytest.approx(1 - 6 * (1 + 1 + 1 + 1 + 16) / (5 * 24))
    assert (found.top_judged, found.top_confirmed, found.top_outvoted) == (2, 1, 1)


def test_the_standard_error_is_that_of_hanley_and_mcneil(tool: Any) -> None:
    """Their formula (Radiology 143, 1982) holds for exponential scores."""
    rng = np.random.default_rng(1)
    n_errors, n_others, area = 60, 600, 0.8
    is_error = np.arange(n_errors + n_others) < n_errors
    scale = area / (1 - area)
    suspicion = rng.exponential(np.where(is_error, scale, 1.0))
    truth = tool.Truth(is_error, is_error, is_error, suspicion, is_error)
    above, below = area / (2 - area) - area**2, 2 * area**2 / (1 + area) - area**2
    variance = area * (1 - area) + (n_errors - 1) * above + (n_others - 1) * below
    expected = np.sqrt(variance / (n_errors * n_others))
    found = tool.standard_error(suspicion, truth, n_resamples=300)
    assert found == pytest.approx(expected, rel=0.25)


def test_every_selector_that_ranks_is_in_and_none_is_told_the_rate(tool: Any) -> None:
    words = tool.methods()
    names = {word.partition(":")[0] for word in words}
    assert {"aum", "confident-learning", "lemon", "random", "probe-ranking"} <= names
    assert not names & {"none", "oracle"}
    assert "co-teaching:noise_rate=estimated" in words
    assert "confident-learning" in words


def test_the_command_ranks_the_test_images(
    tool: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data-dir", str(folder), "--home", str(tmp_path / "home"), "--seeds", "0", "1"]
    methods = ["random", "probe-ranking:by=normalized_margin", "fine:zeta=2"]
    with weights_of_ours(tmp_path / "site"):
        assert tool.main([*words, "--methods", *methods]) == 0
    shown = capsys.readouterr().out
    assert "2 of the 2 confirmed errors are outvoted." in shown
    assert "AUROC: 2 confirmed among 20 | ... among 4 judged | AUROC: 2 outvoted" in shown
    assert "| `the released network's self_confidence` | 1.000 | 1.000 | 1.000 |" in shown
    assert "| `random` | " in shown
    assert "Left out: fine:zeta=2: 'fine': hyper-parameter 'zeta'" in shown


def test_the_rankings_are_those_of_the_probe(tool: Any) -> None:
    import torch
    from cleanlab.rank import get_label_quality_scores

    from nlbench import TrainingData, get_selector
    from nlbench.scoring import probe_probabilities, stratified_folds

    generator = torch.Generator().manual_seed(0)
    x, own = torch.randn(60, 5, generator=generator), torch.arange(60) % 3
    data = TrainingData.from_arrays(own, 3, embeddings=x)
    folds = stratified_folds(own, data.uniform("folds"), 5)
    table = probe_probabilities(data.embeddings("image"), own, 3, folds=folds)
    for file in tool.PLUGINS:
        registry.add_plugin_file(file)
    for by in tool.RANKINGS[:3]:
        selector: Any = get_selector("probe-ranking", by=by)
        theirs = get_label_quality_scores(own.numpy(), table.numpy(), method=by)
        assert selector.select(data).score.tolist() == theirs.tolist(), by
    ratio: Any = get_selector("probe-ranking", by="ratio")
    for score, row, label in zip(ratio.select(data).score, table, own, strict=True):
        assert float(score) == pytest.approx(float(row[label] / row.max()))


def test_images_in_another_order_are_left_out(
    tool: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "label_errors/cifar10_test_set_original_labels.npy"
    own = np.load(file)
    own[[0, 1]] = own[[1, 0]]
    np.save(file, own)
    words = ["--data-dir", str(folder), "--home", str(tmp_path / "home"), "--methods", "random"]
    with weights_of_ours(tmp_path / "site"):
        assert tool.main(words) == 1
    shown = capsys.readouterr().out
    assert "Left out: random: the test images in" in shown
    assert "must be in torchvision's order" in shown


def test_a_missing_file_is_named(
    tool: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cifar10h/cifar10h-counts.npy").unlink()
    with pytest.raises(SystemExit):
        tool.main(["--data-dir", str(folder)])
    assert "cifar10h-counts.npy' does not exist: --help says where" in capsys.readouterr().err
