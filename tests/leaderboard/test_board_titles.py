"""Titles of boards: words that people use, unique on the page, and addresses that stay."""

from __future__ import annotations

from typing import Any

import pytest
from board_records import make, only
from test_leaderboard_build import HOSTILE

from nlbench.contribution import installed_facts_of
from nlbench.contribution.installed_facts import papers_in
from nlbench.plugins import registry
from nlbench.results.record import RunRecord
from nlbench_leaderboard.ranking.rank import rank_boards

HUMAN = {"kind": "human", "nominal_rate": None, "realized_rate": 0.4, "sha256": "x"}


def trained(network: object, epochs: object = 12, **settings: Any) -> dict[str, Any]:
    training = {"network": network, "epochs": epochs}
    return {"protocol__settings": {"training": training, **settings}}


def photographs(**change: Any) -> RunRecord:
    """Return a record of CIFAR-10N as a run writes it."""
    full: dict[str, Any] = {
        "dataset__name": "cifar10n",
        "config": {"dataset": {"name": "cifar10n", "options": {"n_train": None}}},
        "noise": {**HUMAN, "params": {"label_set": "worse"}},
        "protocol__id": "v1-features-20b8b5",
        **trained("frozen:efficientnet-lite0:112", 30),
    }
    return make(**(full | change))


def title(record: RunRecord) -> str:
    names = {name: facts.title for name, facts in installed_facts_of([record]).data.items()}
    (board,) = rank_boards([record], names=names)
    return board.title


def test_a_title_says_data_noise_and_protocol_in_words() -> None:
    assert title(photographs()) == (
        "CIFAR-10N · human labels, worst set · "
        "frozen EfficientNet-Lite0 at 112 px, linear head, 30 epochs"
    )


def test_the_hash_of_the_protocol_is_in_the_address_and_not_in_the_title() -> None:
    board = only([photographs()])
    assert board.id == "cifar10n-human-worse-v1-features-20b8b5"
    assert "20b8b5" not in board.title


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("small-cnn", "small CNN"),
        ("timm:resnet18", "ResNet-18"),
        ("timm-pretrained:resnet50.a1_in1k", "pretrained ResNet-50"),
        ("preact-resnet18", "PreAct ResNet-18"),
        ("frozen-512:bundled-glyphs", "frozen bundled glyphs, head with 512 hidden units"),
        ("frozen:open_clip:ViT-B-32/openai", "frozen open_clip:ViT-B-32/openai, linear head"),
        ("my-network", "my-network"),
        ("timm:", "timm:"),
    ],
)
def test_networks_in_words(network: str, words: str) -> None:
    assert only([make(**trained(network))]).words.protocol == f"{words}, 12 epochs"


def test_what_a_record_does_not_say_is_left_out() -> None:
    assert only([make(**trained("small-cnn", None))]).words.protocol == "small CNN"
    assert only([make(**trained(["a list"]))]).words.protocol == "v1"
    assert only([make(protocol__settings={"training": "none"})]).words.protocol == "v1"


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"kind": "symmetric", "nominal_rate": 0.5}, "50 % symmetric noise"),
        ({"kind": "pair", "nominal_rate": 0.125}, "12.5 % pair noise"),
        ({"kind": "none", "nominal_rate": None, "realized_rate": None}, "labels as shipped"),
        ({"kind": "none", "nominal_rate": None, "realized_rate": 0.0}, "clean labels"),
        ({"kind": "matrix", "nominal_rate": None}, "noise by a transition matrix"),
        ({"kind": "ours", "nominal_rate": None}, "ours noise"),
        ({**HUMAN, "params": {"label_set": "random1"}}, "human labels, first annotator"),
        ({**HUMAN, "params": {"label_set": "tenth"}}, "human labels, tenth"),
        (HUMAN, "human labels"),
    ],
)
def test_noises_in_words(noise: dict[str, Any], words: str) -> None:
    full = {"realized_rate": 0.1, "sha256": "x", **noise}
    assert only([make(noise=full)]).words.noise == words


def test_a_part_of_the_data_and_an_equal_share_are_named() -> None:
    options = {"dataset": {"name": "cifar10n", "options": {"n_train": 5000}}}
    part = photographs(
        config=options, dataset__n_train=5000, **trained("small-cnn", equal_keep=0.5)
    )
    assert "CIFAR-10N, 5 000 training images" in title(part)
    assert title(part).endswith("small CNN, 12 epochs, 50 % kept")


def test_a_setting_tells_boards_apart_that_have_the_same_words() -> None:
    boards = rank_boards(
        [
            make(protocol__sha256=f"p{side}", **trained("small-cnn", image_size=side))
            for side in (8, 16)
        ]
    )
    assert {board.words.extra for board in boards} == {"image size 8", "image size 16"}


def test_a_hash_tells_boards_apart_where_no_setting_does() -> None:
    boards = rank_boards([make(), make(dataset__fingerprint="d2" * 8)])
    assert {board.words.extra for board in boards} == {"data d1", "data d2d2d2d2"}


def test_a_data_set_has_its_spelling_only_from_the_source_that_made_it() -> None:
    config = {"dataset": {"name": "folder", "options": {"path": "cifar10n"}}}
    assert title(photographs(config=config)).startswith("cifar10n · ")
    assert title(photographs(config={"dataset": "?"})).startswith("cifar10n · ")
    gone = photographs(dataset__name="gone", config={"dataset": {"name": "gone"}})
    assert title(gone).startswith("gone · ")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_gives_unique_titles(text: str) -> None:
    records = [
        photographs(dataset__name=text, noise={**HUMAN, "params": {"label_set": text}},
                    protocol__sha256=sha, config={text: text}, **trained(text, text, **{text: sha}))
        for sha in ("p1", "p2")
    ]  # fmt: skip
    titles = {board.title for board in rank_boards(records)}
    assert len(titles) == 2
    assert all(one.isprintable() for one in titles)


def test_every_source_with_a_name_of_its_own_spells_it() -> None:
    known = registry.components("datasets")
    spelled = {n: c.load().title for n, c in known.items() if c.is_shipped}
    assert {name for name, word in spelled.items() if not word} == {"folder", "hf", "parquet"}


def test_papers_are_those_of_the_paragraph_that_names_the_paper() -> None:
    text = """A method.

    Papers: Doe, "X", ICML 2020, arXiv
    2001.00001v2; Roe, doi 10.1145/3447548.3467263, and doi:10.1000/(x)y.

    Deviation: a step of arXiv 9999.99999; https://evil.test.
    """
    assert [paper.url for paper in papers_in(text)] == [
        "https://arxiv.org/abs/2001.00001",
        "https://doi.org/10.1145/3447548.3467263",
        "https://doi.org/10.1000/(x)y",
    ]
    assert papers_in("No paper, arXiv 2001.00001.") == ()


def test_shipped_methods_name_their_paper_by_number() -> None:
    shipped = [n for n, c in registry.components("selectors").items() if c.is_shipped]
    facts = installed_facts_of([make(name) for name in shipped])
    without = set(shipped) - facts.selector_papers.keys()
    # Controls and bounds have none, and this paper had no number when it was read.
    assert without - {"none", "oracle", "random", "imagenet-baseline", "fm-srm"} == set()
    losses = installed_facts_of([make(trainer={"name": name}) for name in ("elr", "gce", "sop")])
    assert losses.trainer_papers.keys() == {"elr", "gce", "sop"}
