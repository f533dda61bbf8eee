"""Every shipped prompt file, read as a user's data set would meet it."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from importlib.resources import files
from itertools import chain
from pathlib import Path

import open_clip
import pytest
from timm.data import ImageNetInfo

from nlbench.config.resolve import resolve
from nlbench.encoders import prompts
from nlbench.encoders.features import load_encoder
from nlbench.encoders.prompts import PromptFile, load_prompts, prompt_texts
from nlbench.errors import ConfigError

FOLDER = files("nlbench.encoders") / "prompts"
N_CLASSES = {
    "animal10n": 10,
    "cifar10": 10,
    "cifar100": 100,
    "clothing1m": 14,
    "digits": 10,
    "food101n": 101,
    "mini-webvision": 50,
    "red-mini-imagenet": 100,
}
ALPHABETICAL = ["cifar10", "cifar100", "food101n"]
# Classes named by number words: "two bumps" counts strokes and names no other class.
NAMES_ARE_COUNTS = {"digits"}
# ImageNet's ear is one of corn and its upright a piano; a dog's ears and standing upright are not.
HOMONYMS = {"red-mini-imagenet": {"ear", "upright"}}
CONTEXT_LENGTH = 77


@pytest.fixture(params=N_CLASSES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file(name: str) -> PromptFile:
    return load_prompts(name)


def test_every_shipped_file_is_tested_here() -> None:
    shipped = {p.name.removesuffix(".yaml") for p in FOLDER.iterdir() if p.name.endswith(".yaml")}
    assert shipped == {*N_CLASSES, "default"}


def test_class_count_and_unique_names(name: str, file: PromptFile) -> None:
    assert file.dataset == name
    assert len(file.class_names) == N_CLASSES[name] == len(set(file.class_names))
    assert list(file.descriptions) == file.class_names


@pytest.mark.parametrize("name", ALPHABETICAL)
def test_alphabetical_data_sets_stay_alphabetical(name: str) -> None:
    names = load_prompts(name).class_names
    # By the bytes of the names, as a sorted listing of folders is: cheese_plate, cheesecake.
    assert names == sorted(names)


def test_the_pairs_of_animal10n_stand_side_by_side_in_the_published_order() -> None:
    names = load_prompts("animal10n").class_names
    pairs = [set(names[i : i + 2]) for i in range(0, 10, 2)]
    assert {"cat", "lynx"} in pairs
    assert {"guinea pig", "hamster"} in pairs
    assert names[4:6] == ["cheetah", "jaguar"]


def test_mini_webvision_is_the_first_50_classes_of_imagenet() -> None:
    imagenet = ImageNetInfo()
    for index, name in enumerate(load_prompts("mini-webvision").class_names):
        synonyms = [s.strip() for s in imagenet.index_to_description(index).split(",")]
        assert name == synonyms[0]


def test_red_mini_imagenet_has_imagenets_names() -> None:
    imagenet = ImageNetInfo()
    known = {imagenet.index_to_description(i).partition(",")[0] for i in range(1000)}
    assert set(load_prompts("red-mini-imagenet").class_names) <= known


def test_five_to_eight_descriptions_of_each_class_and_none_twice(file: PromptFile) -> None:
    assert {len(texts) for texts in file.descriptions.values()} <= {5, 6, 7, 8}
    counts = Counter(text.lower() for text in chain(*file.descriptions.values()))
    assert [text for text, n in counts.items() if n > 1] == []


def test_no_description_names_another_class(name: str, file: PromptFile) -> None:
    if name in NAMES_ARE_COUNTS:
        pytest.skip("its class names are number words, which descriptions use to count")
    wrong = [
        (described, other, text)
        for described, texts in file.descriptions.items()
        for other in file.class_names
        for text in texts
        if other != described and other not in HOMONYMS.get(name, set()) and mentions(text, other)
    ]
    assert wrong == []


def mentions(text: str, class_name: str) -> bool:
    """Return whether a class is named, in the singular or in the plural."""
    words = class_name.replace("_", " ")
    stem = re.escape(words if words.endswith("ss") else words.removesuffix("s"))
    return re.search(rf"\b{stem}(s|es)?\b", text, re.IGNORECASE) is not None


@pytest.mark.parametrize(
    ("text", "class_name", "expected"),
    [
        ("with two oyster shells", "oysters", True),
        ("beside a maple tree", "maple_tree", True),
        ("in long dresses", "Dress", True),
        ("with a catlike face", "cat", False),
        ("with a canvas roof", "can", False),
    ],
)
def test_mentions(text: str, class_name: str, expected: bool) -> None:
    assert mentions(text, class_name) is expected


def test_descriptions_continue_a_sentence(file: PromptFile) -> None:
    for text in chain(*file.descriptions.values()):
        assert re.fullmatch(r"[a-z][A-Za-z ,'-]*[A-Za-z]", text), text
        assert "  " not in text
        assert " ," not in text
    assert file.suffix.endswith(".")
    assert all(template.endswith(".") for template in file.templates)


def test_the_file_is_plain_ascii(name: str) -> None:
    content = (FOLDER / f"{name}.yaml").read_bytes()
    assert content.isascii()
    assert b"\r" not in content
    assert b"\t" not in content
    assert content.endswith(b"\n")


@pytest.mark.parametrize("kind", ["descriptions", "templates"])
def test_every_prompt_fits_into_clips_context(file: PromptFile, kind: str) -> None:
    # A longer context, so that a prompt that would be cut is seen to be too long.
    tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=2 * CONTEXT_LENGTH)
    texts = prompt_texts(file, file.class_names, kind)  # type: ignore[arg-type]
    assert len(texts) == len(file.class_names)
    tokens = tokenizer(list(chain(*texts)))
    assert (tokens != 0).sum(dim=1).max() <= CONTEXT_LENGTH


# Names with another, more common meaning, or known to few: each must be told apart.
HARD = {
    "animal10n": {"jaguar"},
    "cifar100": {
        "beetle", "can", "keyboard", "mouse", "orange", "plain", "plate", "poppy", "ray", "rocket",
        "rose", "seal", "shrew", "table", "tank", "train",
    },
    "clothing1m": {"Chiffon", "Suit", "Down Coat", "Vest"},
    "food101n": {"baby_back_ribs", "croque_madame", "escargots", "hot_dog", "pho", "prime_rib"},
    "mini-webvision": {
        "cock", "electric ray", "eft", "hammerhead", "jay", "kite", "loggerhead", "robin", "tench",
        "water ouzel", "whiptail",
    },
    "red-mini-imagenet": {
        "ashcan", "boxer", "chime", "clog", "crate", "dome", "ear", "file", "horizontal bar",
        "Newfoundland", "orange", "organ", "reel", "robin", "rock beauty", "slot", "stage", "tank",
        "trifle", "upright",
    },
}  # fmt: skip


def test_hard_names_are_told_apart(name: str, file: PromptFile) -> None:
    assert HARD.get(name, set()) <= set(file.prompt_names)
    assert set(file.prompt_names) <= set(file.class_names)
    for class_name, text in file.prompt_names.items():
        assert text != class_name.replace("_", " ")
        assert text.isascii()
        assert "{" not in text
        others = {*file.class_names} - {class_name}
        assert [o for o in others if mentions(text, o) and not mentions(class_name, o)] == []


def test_the_form_is_used_in_every_prompt_and_nowhere_else(name: str, file: PromptFile) -> None:
    templates = prompt_texts(file, file.class_names, "templates")
    described = prompt_texts(file, file.class_names, "descriptions")
    for k, class_name in enumerate(file.class_names):
        said = file.prompt_names.get(class_name, class_name.replace("_", " "))
        assert all(said in text for text in [*templates[k], *described[k]])
        assert described[k][0].startswith(f"a photo of a {said} ")
    own = [[f"my {name}"] for name in file.class_names]
    assert prompt_texts(file, file.class_names, own) == own


def test_names_asked_for_by_the_issue() -> None:
    birds, things = load_prompts("mini-webvision"), load_prompts("red-mini-imagenet")
    assert birds.prompt_names["cock"] == "cock (rooster)"
    assert birds.prompt_names["kite"] == "kite (bird of prey)"
    assert things.prompt_names["slot"] == "slot (one-armed bandit)"
    assert things.prompt_names["file"] == "file (file cabinet)"
    assert things.prompt_names["upright"] == "upright (piano)"


def test_a_form_for_a_class_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "class_names: [kite, hen]\nprompt_names: {kit: kite (bird)}\ntemplates: ['a {}.']\n"
    )
    with pytest.raises(ConfigError, match=r"`prompt_names`.*got \['kit'\]. Did you mean 'kite'"):
        load_prompts(str(path))


def test_what_shipped_prompts_say_counts_in_the_fingerprint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, default = resolve(), resolve(settings={"protocol.prompts": "default"})
    assert before.versions["prompts"] != default.versions["prompts"]
    assert resolve().fingerprint == before.fingerprint
    folder = tmp_path / "prompts"
    shutil.copytree(prompts._FOLDER, folder)
    monkeypatch.setattr(prompts, "_FOLDER", folder)
    digits = folder / "digits.yaml"
    digits.write_text("# A comment does not count.\n" + digits.read_text())
    assert resolve().fingerprint == before.fingerprint
    digits.write_text(digits.read_text() + "prompt_names: {one: one (1)}\n")
    assert resolve().fingerprint != before.fingerprint
    own = tmp_path / "own.yaml"
    own.write_text("templates: ['a {}.']\n")  # a file by path counts by its content
    assert "prompts" not in resolve(settings={"protocol.prompts": str(own)}).versions


def test_underscores_of_a_data_set_are_spaces_in_its_prompts() -> None:
    file = load_prompts("cifar100")
    spaced = [name.replace("_", " ") for name in file.class_names]
    texts = prompt_texts(file, file.class_names, "auto")
    assert texts == prompt_texts(file, spaced, "auto")
    assert texts[1][0].startswith("a photo of a aquarium fish with ")
    assert not any("_" in text for text in chain(*texts))


@pytest.mark.parametrize(("name", "n"), [("open_clip:openai", 80), ("open_clip:simple", 7)])
def test_templates_from_open_clip_itself(name: str, n: int) -> None:
    source = {
        "open_clip:openai": open_clip.OPENAI_IMAGENET_TEMPLATES,
        "open_clip:simple": open_clip.SIMPLE_IMAGENET_TEMPLATES,
    }[name]
    texts = prompt_texts(load_prompts(name), ("cat", "sea_lion"), "auto")
    assert texts[0] == [template("cat") for template in source]
    assert texts[1] == [template("sea lion") for template in source]
    assert len(texts[0]) == n


def test_a_mistyped_list_of_open_clip_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"no templates 'opnai'.*Did you mean 'open_clip:openai'"):
        load_prompts("open_clip:opnai")


def test_a_clip_model_reads_every_class_of_a_file() -> None:
    texts = prompt_texts(load_prompts("animal10n"), load_prompts("animal10n").class_names, "auto")
    embeddings = load_encoder("bundled-clip").encode_text(list(chain(*texts)))
    assert len(embeddings) == sum(map(len, texts))
    assert embeddings.isfinite().all()
