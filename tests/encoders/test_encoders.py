"""Encoders by name, models from a folder, and prompt files."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

from nlbench.config.resolve import resolve
from nlbench.config.setting_text import parse_setting
from nlbench.encoders.base import Encoder
from nlbench.encoders.features import load_encoder
from nlbench.encoders.prompts import PromptFile, load_prompts, prompt_texts
from nlbench.errors import ConfigError, DataError

CPU = torch.device("cpu")
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


def save_clip(folder: Path, seed: int = 0) -> torch.nn.Module:
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**CLIP_CONFIG).eval()
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    config = {"model_cfg": CLIP_CONFIG, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return model


def save_timm(folder: Path, seed: int = 0) -> torch.nn.Module:
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model("test_resnet", num_classes=5).eval()
    save_file(model.state_dict(), folder / "model.safetensors")
    pretrained = {"input_size": [3, 32, 32], "mean": MEAN, "std": STD, "num_classes": 5}
    pretrained |= {"first_conv": "conv1.0", "classifier": "fc"}
    config = {"architecture": "test_resnet", "num_classes": 5, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(config))
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, torch.nn.Module]]:
    root = tmp_path_factory.mktemp("models")
    return {
        "clip": (root / "clip", save_clip(root / "clip")),
        "timm": (root / "timm", save_timm(root / "timm")),
    }


def images(n: int, size: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, channels, size, size), generator=generator).to(torch.uint8)


def raw_features(kind: str, model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    x = (batch.float() / 255 - mean) / std
    if kind == "clip":
        features = model.encode_image(x)  # type: ignore[operator]
    else:
        features = model.forward_head(model.forward_features(x), pre_logits=True)  # type: ignore
    return features / features.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("kind", "size", "width"), [("clip", 16, 12), ("timm", 32, 96)])
class TestModelFromAFolder:
    def load(self, folders: Any, kind: str) -> Encoder:
        return load_encoder(f"local-dir:{folders[kind][0]}")

    def test_gives_the_saved_models_features(
        self, folders: Any, kind: str, size: int, width: int
    ) -> None:
        encoder, batch = self.load(folders, kind), images(6, size)
        assert encoder.input_size == size
        got = encoder.encode_images(batch, CPU)
        assert got.shape == (6, width)
        with torch.no_grad():
            expected = raw_features(kind, folders[kind][1], batch)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)

    def test_unit_norm(self, folders: Any, kind: str, size: int, width: int) -> None:
        got = self.load(folders, kind).encode_images(images(5, size + 7), CPU)
        torch.testing.assert_close(got.norm(dim=1), torch.ones(5))
        assert got.std(dim=0).max() > 1e-4

    def test_batch_size_does_not_matter(
        self, folders: Any, kind: str, size: int, width: int
    ) -> None:
        encoder, batch = self.load(folders, kind), images(9, size)
        whole = encoder.encode_images(batch, CPU)
        parts = torch.cat([encoder.encode_images(part, CPU) for part in batch.split(2)])
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)

    def test_a_grey_image_is_one_with_three_equal_channels(
        self, folders: Any, kind: str, size: int, width: int
    ) -> None:
        encoder, grey = self.load(folders, kind), images(4, 8, channels=1)
        got = encoder.encode_images(grey, CPU)
        expected = encoder.encode_images(grey.repeat(1, 3, 1, 1), CPU)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)

    def test_the_images_given_are_left_alone(
        self, folders: Any, kind: str, size: int, width: int
    ) -> None:
        batch = images(3, size)
        before = batch.clone()
        self.load(folders, kind).encode_images(batch, CPU)
        assert torch.equal(batch, before)

    def test_the_weights_hash_tells_two_checkpoints_apart(
        self, folders: Any, kind: str, size: int, width: int, tmp_path: Path
    ) -> None:
        save = save_clip if kind == "clip" else save_timm
        save(tmp_path / "same", seed=0)
        save(tmp_path / "other", seed=1)
        expected = self.load(folders, kind).weights_sha256
        assert load_encoder(f"local-dir:{tmp_path / 'same'}").weights_sha256 == expected
        assert load_encoder(f"local-dir:{tmp_path / 'other'}").weights_sha256 != expected

    def test_weights_that_are_not_there_are_never_random_ones(
        self, folders: Any, kind: str, size: int, width: int, tmp_path: Path
    ) -> None:
        name = "open_clip_config.json" if kind == "clip" else "config.json"
        (tmp_path / name).write_text((folders[kind][0] / name).read_text())
        with pytest.raises(DataError, match="weights"):
            load_encoder(f"local-dir:{tmp_path}")

    def test_damaged_weights_are_a_data_error(
        self, folders: Any, kind: str, size: int, width: int, tmp_path: Path
    ) -> None:
        (save_clip if kind == "clip" else save_timm)(tmp_path)
        (weights,) = tmp_path.glob("*.safetensors")
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(DataError, match="could not be loaded"):
            load_encoder(f"local-dir:{tmp_path}")


def test_plain_timm_weights_may_have_a_classifier(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=7).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    timm.models.save_for_hf(model, tmp_path / "saved", safe_serialization=True)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(x), pre_logits=True)
        for folder in (tmp_path, tmp_path / "saved"):
            got = load_encoder(f"local-dir:{folder}").forward_images(x)
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_weights_that_do_not_fit_show_every_tensor(tmp_path: Path) -> None:
    save_timm(tmp_path)
    save_file({"nothing.of.it": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="could not be loaded") as caught:
        load_encoder(f"local-dir:{tmp_path}")
    for text in ("conv1.0.weight", "layer4.0.conv1.weight", "timm.models.save_for_hf(model, PATH)"):
        assert text in str(caught.value)
    assert "internet" not in str(caught.value)


def test_text_of_a_clip_model_from_a_folder(folders: Any) -> None:
    encoder = load_encoder(f"local-dir:{folders['clip'][0]}")
    texts = ["a photo of a cat.", "a photo of a dog."]
    both = encoder.encode_text(texts)
    assert both.shape == (2, 12)
    torch.testing.assert_close(both.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(encoder.encode_text(texts[1:]), both[1:], atol=1e-5, rtol=0)
    assert (both[0] - both[1]).abs().max() > 1e-4
    tokens = open_clip.get_tokenizer("ViT-B-32", context_length=16)(texts)
    with torch.no_grad():
        expected = folders["clip"][1].encode_text(tokens, normalize=True)
    torch.testing.assert_close(both, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["bundled-glyphs", "local"])
def test_text_on_an_image_encoder_is_refused(folders: Any, name: str) -> None:
    name = f"local-dir:{folders['timm'][0]}" if name == "local" else name
    with pytest.raises(ConfigError, match=r"no text side.*'bundled-clip'") as caught:
        load_encoder(name).encode_text(["a cat"])
    assert name in str(caught.value)


def test_the_bundled_models_work_together() -> None:
    batch = images(3, 8, channels=1)
    clip, glyphs = load_encoder("bundled-clip"), load_encoder("bundled-glyphs")
    assert clip.encode_images(batch, CPU).shape == clip.encode_text(["a", "b", "c"]).shape
    assert len(glyphs.encode_images(batch, CPU)) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bundld-clip", "unknown encoder 'bundld-clip'. Did you mean 'bundled-clip'"),
        ("open_clip:ViT-B-3/openai", "no model 'ViT-B-3'. Did you mean 'ViT-B-32'"),
        ("open_clip:ViT-B-32/opnai", "no weights 'opnai'.*Did you mean 'openai'"),
        ("open_clip:ViT-B-32", "no weights ''.*open_clip:ViT-B-32/TAG.*'openai'"),
        ("timm:resnet5O.a1_in1k", "no model 'resnet5O.a1_in1k'. Did you mean 'resnet50'"),
        ("timm:zzzz", "no model 'zzzz'.*list_models"),
        ("timm:resnet50.a1_in1kk", "a1_in1kk.*Did you mean 'a1_in1k'"),
        ("bundled-clip:large", "'bundled-clip' takes no argument, got 'large'"),
        ("bundled-glyphs:large", "'bundled-glyphs' takes no argument, got 'large'"),
    ],
)
def test_a_mistyped_encoder(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_encoder(name)


@pytest.mark.parametrize("name", ["open_clip:ViT-B-32/openai", "timm:resnet50.a1_in1k"])
def test_weights_out_of_reach(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(DataError, match="could not be loaded") as caught:
        load_encoder(name)
    assert time.monotonic() - started < 30
    assert f"'{name}'" in str(caught.value)
    assert "run once on a machine with internet" in str(caught.value)
    assert "`local-dir:PATH`" in str(caught.value)
    for way in ("--recipe quick/", "'bundled-clip'", "nlbench[photos]"):
        assert way in str(caught.value)


def test_a_folder_without_a_model_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither open_clip_config.json nor config.json"):
        load_encoder(f"local-dir:{tmp_path}")
    with pytest.raises(DataError, match="safetensors"):
        load_encoder(f"local-dir:{tmp_path / 'nowhere'}")


def write_prompts(tmp_path: Path, text: str) -> str:
    path = tmp_path / "my prompts.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


GOOD = """\
class_names: [cat, dog]
templates: ["a photo of a {}.", "one {}."]
suffix: ", an animal."
descriptions:
  cat: [with whiskers]
  dog: [that barks, with a leash]
"""


def test_prompts_by_path_and_by_name(tmp_path: Path) -> None:
    assert load_prompts(write_prompts(tmp_path, GOOD)).class_names == ["cat", "dog"]
    assert load_prompts("digits").class_names[:2] == ["zero", "one"]
    assert len(load_prompts("default").templates) == 5


def test_descriptions_templates_and_auto(tmp_path: Path) -> None:
    file = load_prompts(write_prompts(tmp_path, GOOD))
    described = [
        ["a photo of a cat with whiskers, an animal."],
        ["a photo of a dog that barks, an animal.", "a photo of a dog with a leash, an animal."],
    ]
    templated = [["a photo of a cat.", "one cat."], ["a photo of a dog.", "one dog."]]
    names = ("cat", "dog")
    assert prompt_texts(file, names, "descriptions") == described
    assert prompt_texts(file, names, "templates") == templated
    assert prompt_texts(file, names, "auto") == described
    assert prompt_texts(file, names, [["x"], ["y", "z"]]) == [["x"], ["y", "z"]]
    bare = PromptFile(templates=["one {}."])
    assert prompt_texts(bare, ("sea_lion", "dog"), "auto") == [["one sea lion."], ["one dog."]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("  dog: [that barks, with a leash]\n", ""), r"missing for \['dog'\]"),
        (("  dog:", "  wolf:"), r"missing for \['dog'\] and given for unknown classes \['wolf'\]"),
        (("[with whiskers]", "[]"), r"missing for \['cat'\]"),
        (("  cat:", "  wolf: [that howls]\n  cat:"), r"unknown classes \['wolf'\]"),
        (("[cat, dog]", "[cat, fox]"), r"file has \['fox'\].*set \['dog'\].*Correct `class_names`"),
        (("[cat, dog]", "[cat, dog, fox]"), r"only the file has \['fox'\], only the data set \[\]"),
    ],
)
def test_prompts_that_do_not_fit_the_classes(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    file = load_prompts(write_prompts(tmp_path, GOOD.replace(*change)))
    with pytest.raises(ConfigError, match=message):
        prompt_texts(file, ("cat", "dog"), "descriptions")


def test_a_file_in_another_order_gives_each_class_its_own_prompts(tmp_path: Path) -> None:
    """ANIMAL-10N is read in two orders."""
    turned = load_prompts(write_prompts(tmp_path, GOOD.replace("[cat, dog]", "[dog, cat]")))
    expected = prompt_texts(load_prompts(write_prompts(tmp_path, GOOD)), ("cat", "dog"), "auto")
    assert prompt_texts(turned, ("cat", "dog"), "auto") == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("  dog:", "  cat:"), "given twice: cat"),
        (("one {}.", "one cat."), "must contain one {}, got 'one cat.'"),
        (("one {}.", "{} and {}."), "must contain one {}"),
        (("one {}.", "one {} in {place}."), "place"),
        (('["a photo of a {}.", "one {}."]', "[]"), "templates"),
        (("templates:", "template:"), "template"),
        (("class_names: [cat, dog]", "class_names: [cat"), "cannot be used"),
        ((GOOD, ""), "cannot be used"),
    ],
)
def test_prompt_files_that_cannot_be_used(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = write_prompts(tmp_path, GOOD.replace(*change))
    with pytest.raises(ConfigError, match=message) as caught:
        load_prompts(path)
    assert path in str(caught.value)


def test_a_prompt_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("templates: ['das {} heißt so']".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml"):
        load_prompts(str(path))


@pytest.mark.parametrize("name", ["digit", "nowhere.yaml"])
def test_a_missing_prompt_file(name: str) -> None:
    with pytest.raises(ConfigError, match=r"prompt file .* does not exist"):
        load_prompts(name)


def test_a_mistyped_prompt_file_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'digits'"):
        load_prompts("digit")


def test_the_way_out_that_missing_descriptions_offer_works() -> None:
    with pytest.raises(ConfigError) as caught:
        prompt_texts(PromptFile(templates=["{}"]), ("cat", "dog"), "descriptions")
    setting = str(caught.value).split("--set ")[1].rstrip(".")
    config = resolve(selector="clipcleaner", settings=dict([parse_setting(setting)]))
    assert config.selector.params["prompts"] == "templates"
