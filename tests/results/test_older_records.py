"""Records from before methods were pairs keep their place on the boards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nlbench.config.resolve import resolve
from nlbench.config.run_config import versioned_sha256
from nlbench.results.record import RunRecord


def older(selector: str = "clip-knn", trainer: str = "cross-entropy", **params: Any) -> str:
    """Return a record as it was written before, its protocol holding the whole trainer."""
    config = resolve(selector=selector)
    settings = {
        "trainer": {"name": trainer, **config.trainer.params, **params},
        **config.protocol.model_dump(exclude_none=True),
    }
    sha256 = versioned_sha256(settings)
    content = {
        "schema": 1,
        "fingerprint": config.fingerprint,
        "status": "failed",
        "selector": {"name": selector, "params": config.selector.params},
        "dataset": {
            "name": "digits", "fingerprint": "d", "n_train": 10, "n_test": 5, "n_classes": 10
        },
        "noise": {"kind": "none", "nominal_rate": None, "realized_rate": 0.0, "sha256": "n"},
        "seed": 0,
        "protocol": {
            "id": "v1" if not params else f"v1-{sha256[:6]}",
            "sha256": sha256,
            "version": 1,
            "settings": {**settings, "n_val": 144},
        },
    }  # fmt: skip
    return json.dumps(content)


def test_the_protocol_is_that_of_todays_runs() -> None:
    record, config = RunRecord.from_json(older()), resolve(selector="clip-knn")
    assert record.protocol.sha256 == config.protocol_sha256
    assert record.protocol.settings == {**config.protocol_settings, "n_val": 144}
    assert record.protocol.id == config.protocol_id == "v1"
    assert record.trainer.params == config.trainer.params
    assert (record.method, record.label) == ("clip-knn", "clip-knn")


@pytest.mark.parametrize(
    ("selector", "trainer", "method"),
    [
        ("none", "label-smoothing", "label-smoothing"),
        ("clip-knn", "mixfix", "clip-knn+mixfix"),
        ("none", "cross-entropy", "none"),
    ],
)
def test_another_trainer_makes_another_method(selector: str, trainer: str, method: str) -> None:
    record = RunRecord.from_json(older(selector, trainer))
    assert (record.method, record.trainer.name) == (method, trainer)


def test_a_protocol_named_by_its_hash_is_named_by_the_new_one() -> None:
    record = RunRecord.from_json(older(network="preact-resnet18"))
    config = resolve(settings={"trainer.network": "preact-resnet18"})
    assert record.protocol.id == config.protocol_id != "v1"


def test_it_is_written_in_todays_shape_and_read_back_equal() -> None:
    record = RunRecord.from_json(older())
    assert RunRecord.from_json(record.to_json()) == record
    assert "trainer" not in record.protocol.settings
