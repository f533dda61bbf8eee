"""What libraries warn of while they build a model is in the log and in the record."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
from test_encoders import save_clip, save_timm

import nlbench
from nlbench.encoders.features import load_encoder
from nlbench.encoders.library_warnings import collected_warnings


@pytest.fixture
def hidden() -> Iterator[None]:
    """Hide warnings as the command line does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.usefixtures("hidden")
def test_both_ways_of_warning_are_collected_in_order_of_kind_and_once() -> None:
    with collected_warnings() as messages:
        logging.warning("chose\n one of two files")
        logging.getLogger("open_clip.model").error("resized")
        logging.info("not a warning")
        for _ in range(2):
            warnings.warn("wrong activation", stacklevel=1)
    assert messages == ["chose one of two files", "resized", "wrong activation"]


def test_warnings_about_code_go_where_they_would_have_gone() -> None:
    with (
        pytest.warns(DeprecationWarning, match="old call"),
        collected_warnings() as messages,
    ):
        warnings.warn("old call", DeprecationWarning, stacklevel=1)
    assert messages == []


def test_our_own_log_and_other_threads_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with collected_warnings() as messages:
        logging.getLogger("nlbench").warning("ours")
        thread = threading.Thread(target=lambda: logging.warning("theirs"))
        thread.start()
        thread.join()
    assert messages == []
    assert [record.getMessage() for record in caplog.records] == ["ours", "theirs"]
    assert (root.handlers, root.level) == (handlers, level)


def test_a_library_that_logs_leaves_no_handler_that_prints_our_log_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    with collected_warnings():
        logging.warning("a library's")
    assert root.handlers == []


def test_a_failure_puts_everything_back() -> None:
    root = logging.getLogger()
    handlers = list(root.handlers)
    client = logging.getLogger("huggingface_hub")
    level = client.level
    with pytest.raises(KeyError), collected_warnings():
        assert client.level == logging.CRITICAL
        raise KeyError
    assert root.handlers == handlers
    assert client.level == level


@pytest.fixture
def ambiguous(tmp_path: Path) -> str:
    """Make a folder with two checkpoints, of which open_clip takes one and warns."""
    save_clip(tmp_path)
    weights = tmp_path / "open_clip_model.safetensors"
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(weights.read_bytes())
    weights.unlink()
    return f"local-dir:{tmp_path}"


@pytest.mark.usefixtures("hidden")
def test_a_librarys_warning_is_in_the_log_and_in_the_record(
    ambiguous: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"selector.encoder": ambiguous}
    records = [
        nlbench.run(
            "clip-knn", "digits", seed=seed, epochs=1, settings=settings, track=False,
            home=tmp_path / "home", device="cpu",
        )
        for seed in (0, 1)
    ]  # fmt: skip
    for record in records:  # the second run finds the encoder loaded
        (message,) = record.warnings
        assert message.startswith(f"encoder {ambiguous}: Multiple checkpoints found")
    assert sum("Multiple checkpoints found" in text for text in caplog.messages) == 1


def test_a_model_without_warnings_has_none(tmp_path: Path) -> None:
    save_timm(tmp_path)
    assert load_encoder(f"local-dir:{tmp_path}").warnings == ()
    assert load_encoder("bundled-clip").warnings == ()


@pytest.mark.usefixtures("hidden")
def test_a_warning_through_the_warnings_module_is_on_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = open_clip.create_model_from_pretrained

    def warn(*args: object, **settings: object) -> object:
        warnings.warn("QuickGELU mismatch", stacklevel=1)
        return build(*args, **settings)

    monkeypatch.setattr(open_clip, "create_model_from_pretrained", warn)
    save_clip(tmp_path)
    assert load_encoder(f"local-dir:{tmp_path}").warnings == ("QuickGELU mismatch",)
