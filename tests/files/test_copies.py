"""Files of runs at URLs, read through a copy here and written whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench.errors import ConfigError
from nlbench.files.copies import local_copy, local_folder, write_anywhere


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    folder = tmp_path / "lab"
    folder.mkdir()
    return folder


def test_what_is_written_at_a_url_is_read_there(lab: Path) -> None:
    url = f"{lab.as_uri()}/deep/mine.json"
    write_anywhere(url, "first", "--out")
    write_anywhere(url, "second", "--out")
    assert local_copy(url, "FILE").read_text() == "second"
    assert [path.name for path in (lab / "deep").iterdir()] == ["mine.json"]


def test_of_a_folder_its_files_are_read_and_what_is_gone_there_is_gone_here(lab: Path) -> None:
    for name in ("a.json", "b/c.json", "b/d.txt"):
        write_anywhere(f"{lab.as_uri()}/{name}", name, "--out")
    copy = local_copy(lab.as_uri(), "--records")
    found = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert found == {"a.json", "b/c.json"}
    (lab / "a.json").unlink()
    copy = local_copy(lab.as_uri(), "--records")
    assert [path.name for path in copy.rglob("*.json")] == ["c.json"]


def test_a_path_stays_as_it_is(lab: Path) -> None:
    assert local_copy("some/file.json", "FILE") == Path("some/file.json")
    write_anywhere(str(lab / "x.json"), "text", "--out")
    assert (lab / "x.json").read_text() == "text"


def test_nothing_at_a_url_is_refused_by_name(lab: Path) -> None:
    with pytest.raises(ConfigError, match=r"`FILE` must be a file of runs.*none\.json"):
        local_copy(f"{lab.as_uri()}/none.json", "FILE")


def test_a_page_is_not_written_into_a_folder_named_like_a_url(lab: Path) -> None:
    with pytest.raises(ConfigError, match="`--out` must be a folder of this machine"):
        local_folder(Path("s3://bucket/site"), "--out")
    local_folder(lab / "s3:" / "x", "--out")
    local_folder(None, "--out")
