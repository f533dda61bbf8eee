"""A home at a URL: machines see each other's runs, and lose nothing when it goes away."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_results import make_record

from nlbench.errors import ConfigError, DataError, RunError
from nlbench.files import home_dir
from nlbench.files.buckets import Bucket
from nlbench.results import shared
from nlbench.results.samples import SELECTION_FILE
from nlbench.results.store import RunStore

A, B = "a" * 64, "b" * 64


class Lab:
    """Machines with a cache folder each, and one home at a URL."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._root, self._patch = root / "lab", root, monkeypatch
        self.folder.mkdir()
        monkeypatch.setenv("NLBENCH_HOME", self.folder.as_uri())
        monkeypatch.setattr(shared, "_FRESH_S", 0.0)

    def at(self, machine: str) -> RunStore:
        """Return the home as a new command on a machine has it."""
        shared.shared_runs.cache_clear()
        shared._SAID.clear()
        self._patch.setenv("XDG_CACHE_HOME", str(self._root / machine))
        return RunStore()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


def write(store: RunStore, fingerprint: str, samples: bytes = b"samples") -> None:
    with store.claim(fingerprint):
        (store.folder(fingerprint) / SELECTION_FILE).write_bytes(samples)
        store.write(make_record(fingerprint))


def test_a_run_of_one_machine_is_there_for_the_other_with_its_samples(lab: Lab) -> None:
    write(lab.at("one"), A)
    assert (lab.folder / "runs" / A / "record.json").is_file()
    two = lab.at("two")
    assert two.read(A) == make_record(A)
    assert (two.folder(A) / SELECTION_FILE).read_bytes() == b"samples"
    write(two, B)
    assert [r.fingerprint for r in lab.at("one").records()[0]] == [A, B]
    assert not list(lab.folder.rglob("lease-*"))
    assert sorted(p.name for p in (lab.folder / "runs" / A).iterdir()) == [
        "record.json", SELECTION_FILE,
    ]  # fmt: skip


def test_while_a_command_runs_it_sees_what_others_write(lab: Lab) -> None:
    one = lab.at("one")
    write(lab.at("two"), A)
    assert one.read(A) == make_record(A)
    with one.claim(A) as claim:
        assert claim.attempt == 2


def test_a_run_that_another_machine_is_at_is_refused(lab: Lab) -> None:
    one = lab.at("one")
    with one.claim(A):
        two = lab.at("two")
        assert two.home != one.home
        with pytest.raises(RunError, match="under way in another process"), two.claim(A):
            pytest.fail("two machines hold one run")
    with two.claim(A):
        pass


def test_what_could_not_be_uploaded_is_uploaded_by_the_next_command(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    one = lab.at("one")
    write(one, A)
    gone = lab.folder.rename(lab.folder.with_name("gone"))
    lab.folder.write_text("in the way")  # whoever writes or lists below it fails
    with caplog.at_level(logging.WARNING):
        write(one, B)
        assert one.read(B) == make_record(B)
    (said,) = [r.message for r in caplog.records if "Runs go on without it" in r.message]
    assert str(one.home) in said
    lab.folder.unlink()
    gone.rename(lab.folder)
    with caplog.at_level(logging.WARNING):
        lab.at("one")
    assert "1 run that" in caplog.text
    assert "uploaded now" in caplog.text
    assert lab.at("two").read(B) == make_record(B)
    caplog.clear()
    lab.at("one")
    assert not caplog.text


def test_killed_between_record_and_upload_the_next_command_uploads(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = lab.at("one")
    with monkeypatch.context() as patch:
        patch.setattr(shared.SharedRuns, "push", lambda *arguments: None)
        write(one, A)
    assert not (lab.folder / "runs").exists()
    lab.at("one")
    assert lab.at("two").read(A) == make_record(A)


def test_a_failed_run_does_not_take_the_place_of_a_finished_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = lab.at("one")
    with monkeypatch.context() as patch:
        patch.setattr(shared.SharedRuns, "push", lambda *arguments: None)
        one.write(make_record(A, status="failed", metrics=None))
    write(lab.at("two"), A)
    one = lab.at("one")
    assert one.records() == ([make_record(A)], [])
    assert lab.at("two").records() == ([make_record(A)], [])


def test_a_failed_run_is_seen_finished_once_another_machine_did_it(lab: Lab) -> None:
    one = lab.at("one")
    one.write(make_record(A, status="failed", metrics=None))
    write(lab.at("two"), A)
    found = lab.at("one").read(A)
    assert found is not None
    assert found.status == "finished"


def test_a_damaged_copy_is_fetched_again_and_a_damaged_original_is_named(lab: Lab) -> None:
    one = lab.at("one")
    write(one, A)
    copy = one.folder(A) / "record.json"
    copy.write_bytes(copy.read_bytes()[:300])
    assert lab.at("one").read(A) == make_record(A)
    original = lab.folder / "runs" / A / "record.json"
    original.write_bytes(original.read_bytes().replace(b"finished", b"finishEd"))
    two = lab.at("two")
    with pytest.raises(DataError, match="digest differs"):
        two.read(A)
    write(two, A)
    assert lab.at("three").read(A) == make_record(A)


def test_a_name_at_the_url_does_not_become_a_path_elsewhere(lab: Lab) -> None:
    for name in ("runs/..x/record.json", f"runs/{A}/lock", "runs/short/record.json"):
        path = lab.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    store = lab.at("one")
    assert store.records() == ([], [])
    assert not store.runs.exists()


def test_a_store_that_does_not_answer_is_named_at_the_beginning(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError("Access denied")

    lab.at("one")
    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.find", refuse)
    with pytest.raises(RunError, match=r"file://.*lab' cannot be listed: Access denied\. Check"):
        lab.at("one")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://key:secret@bucket/lab", r"without a password, got 's3://\*\*\*@bucket/lab'"),
        ("s3://", "with a bucket or folder"),
        ("simplecache::s3://bucket", "without '::'"),
        ("filecache://a::s3://bucket", "without '::'"),
        ("s3://bucket/../other", r"'\.\.'"),
        ("nothing://bucket/lab", "Protocol not known"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setenv("NLBENCH_HOME", url)
    with pytest.raises(ConfigError, match=message) as caught:
        RunStore()
    assert "secret" not in str(caught.value)


def test_a_driver_that_is_missing_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object, **options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(ConfigError, match=r"pip install 'nlbench\[s3\]'"):
        Bucket("s3://bucket/lab")


def test_the_folder_of_copies_is_the_users_and_one_for_each_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = set()
    for url in ("s3://bucket/lab", "s3://bucket/lab/", "s3://bucket-lab"):
        monkeypatch.setenv("NLBENCH_HOME", url)
        folders.add(home_dir())
    assert len(folders) == 2
    assert {folder.parent for folder in folders} == {tmp_path / "nlbench"}
    assert all("s3-bucket-lab" in folder.name for folder in folders)


def test_a_mirror_that_was_deleted_is_filled_again(lab: Lab) -> None:
    one = lab.at("one")
    write(one, A)
    shutil.rmtree(one.home)
    assert lab.at("one").records() == ([make_record(A)], [])


HOLD = """
import time
from nlbench.results.store import RunStore
with RunStore().claim("a" * 64):
    print("holding", flush=True)
    time.sleep(60)
"""


def test_a_process_that_is_killed_is_noticed_at_once(lab: Lab) -> None:
    lab.at("one")
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    two = lab.at("two")
    with pytest.raises(RunError, match="under way in another process"), two.claim(A):
        pytest.fail("two machines hold one run")
    holder.kill()
    holder.communicate()
    with two.claim(A):
        assert len(list(lab.folder.rglob("lease-*"))) == 1
