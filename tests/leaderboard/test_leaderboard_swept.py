"""A board says where a selector has several rows whose hyper-parameters were tried out."""

from __future__ import annotations

import pytest
from board_records import make, only


def swept(name: str, **params: object) -> list[object]:
    return [make(name, seed, 0.9, selector__params=params) for seed in (0, 1)]


def notes(*records: object) -> list[str]:
    board = only([*records])  # type: ignore[list-item]
    return [note for note in board.notes if "swept over" in note]


def test_several_values_are_named_in_order() -> None:
    runs = [run for k in (20, 5, 10) for run in swept("my-idea", k=k, t=0.1)]
    assert notes(*runs, *swept("none")) == [
        "my-idea: k swept over 5, 10, 20; choosing the best of these rows afterwards favours it."
    ]


def test_two_swept_settings_are_both_named() -> None:
    runs = [run for k in (5, 10) for t in (0.1, True) for run in swept("my-idea", k=k, t=t)]
    (note,) = notes(*runs)
    assert note.startswith("my-idea: k swept over 5, 10, t swept over 0.1, true; choosing")


def test_settings_of_a_loss_are_named_too() -> None:
    runs = [
        make("none", seed, 0.9, method="elr", trainer={"name": "elr", "params": {"strength": s}})
        for s in (1, 3)
        for seed in (0, 1)
    ]
    assert notes(*runs, *swept("none")) == [
        "elr: strength swept over 1, 3; choosing the best of these rows afterwards favours it."
    ]


@pytest.mark.parametrize("other", ["my-idea", "another"])
def test_one_point_of_each_selector_is_not_a_sweep(other: str) -> None:
    assert notes(*swept("my-idea", k=5), *swept(other, k=5 if other == "my-idea" else 10)) == []


def test_rows_of_older_versions_do_not_count() -> None:
    old = [
        make("my-idea", seed, 0.9, selector__params={"k": 10}, versions={"selector": 1}, **{
            "finished_at": "2025-01-01T00:00:00Z"})
        for seed in (0, 1)
    ]  # fmt: skip
    new = [
        make("my-idea", seed, 0.9, selector__params={"k": 5}, versions={"selector": 2})
        for seed in (0, 1)
    ]
    assert notes(*old, *new) == []
