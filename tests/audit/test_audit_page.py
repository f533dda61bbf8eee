"""The page of `nlbench clean` as a file: what it says, what it holds, what it can never do."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from audit_page import CLASSES, data_in, findings_of, page_of, pictures_in, samples_of, suspect
from PIL import Image

from nlbench.audit.findings import ClassFinding, PairFinding, PictureProblem
from nlbench.audit.page import CHUNK
from nlbench.audit.samples import Samples
from nlbench.errors import ConfigError

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><b onmouseover=alert(1)>",
    "{{ 7 * 7 }}",
    "<!--<script>",
]


class Reader(HTMLParser):
    """What a browser would see: elements with attributes, and the text outside of scripts."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data


def test_the_head_says_it_in_a_sentence_with_the_range(tmp_path: Path) -> None:
    samples = samples_of()
    text = Reader(page_of(tmp_path, samples, findings_of(samples))).text
    assert "About 9.0\u00a0% (8.6–9.4) of the 40 labels are wrong; 12 are suspected." in text
    for fact in ("40 images in 4 classes", "train 30, test 10", "encoder efficientnet-lite0",
                 "selectors confident-learning, knn", "they agree on 90.0\u00a0%"):  # fmt: skip
        assert fact in text


def test_warnings_and_what_was_left_out_are_on_the_page(tmp_path: Path) -> None:
    samples = samples_of(
        warnings=("The encoder has never seen a photograph.",),
        unreadable=("broken.png",),
        passed_over={"not an image": (30, ("notes.txt",))},
    )
    findings = findings_of(samples, not_judged=(3, 7))
    text = Reader(page_of(tmp_path, samples, findings)).text
    for line in ("The encoder has never seen a photograph.", "1 file could not be decoded",
                 "broken.png", "30 passed over: not an image", "notes.txt", "and 29 more",
                 "2 images of 1 class that is too small to be judged were left out",
                 "ship (2)", "of the 38 judged labels"):  # fmt: skip
        assert line in text, line


def test_cells_of_the_matrix_link_to_their_suspects(tmp_path: Path) -> None:
    samples = samples_of()
    findings = findings_of(samples, pairs=(PairFinding(3, 2, 5), PairFinding(0, 1, 1)))
    links = {a["href"]: a for tag, a in Reader(page_of(tmp_path, samples, findings)).tags
             if tag == "a" and "suggested" in str(a.get("href"))}  # fmt: skip
    assert set(links) == {"#given=3&suggested=2", "#given=0&suggested=1"}
    label = links["#given=3&suggested=2"]["aria-label"]
    assert label == "5 labelled ship, suggested horse"


def test_a_thousand_classes_have_a_table_of_pairs_and_no_matrix(tmp_path: Path) -> None:
    names = tuple(f"class {k}" for k in range(1000))
    samples = samples_of(2000, class_names=names, labels=np.arange(2000) % 1000)
    findings = findings_of(
        samples,
        classes=tuple(ClassFinding(k, 2, 0, None) for k in range(1000)),
        pairs=tuple(PairFinding(k, k + 1, 1) for k in range(900)),
    )
    page = page_of(tmp_path, samples, findings)
    reader = Reader(page)
    assert "Most frequent pairs" in reader.text
    assert "too few to judge" in reader.text
    assert sum(tag == "td" for tag, _ in reader.tags) < 1000 * 5
    assert page.stat().st_size < 1_000_000


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(tmp_path: Path, text: str) -> None:
    plain_samples = samples_of()
    plain = Reader(page_of(tmp_path, plain_samples, findings_of(plain_samples, 1)))
    samples = samples_of(
        names=[text], name=text, class_names=(text, *CLASSES[1:]), parts=[text] * 40,
        warnings=(text,), unreadable=(text,), passed_over={text: (1, (text,))},
    )  # fmt: skip
    one = suspect(samples, 0)
    hostile = type(one)(0, 0, 1, 0.5, (text,), (text,), (4,), (1,))
    findings = findings_of(
        samples, 1, suspects=(hostile,), selectors=(text,), encoder=text, seconds={text: 1.0},
        problems=(PictureProblem("copies", (0,), text), PictureProblem(text, (0,), text, (0,))),
    )  # fmt: skip
    page = page_of(tmp_path, samples, findings, command=f"nlbench clean '{text}'")
    reader = Reader(page)
    assert {tag for tag, _ in reader.tags} <= {tag for tag, _ in plain.tags} | {"details", "li"}
    scripts = [a for tag, a in reader.tags if tag == "script"]
    assert len([a for a in scripts if "type" not in a]) == 1, "a script that is not ours"
    assert not [name for _, a in reader.tags for name in a if name.startswith("on")]
    assert text in reader.text
    assert data_in(page)["names"][0] == text


def test_only_its_own_script_and_style_may_run_and_nothing_is_loaded(tmp_path: Path) -> None:
    samples = samples_of()
    page = page_of(tmp_path, samples, findings_of(samples))
    reader = Reader(page)
    (policy,) = (str(a["content"]) for tag, a in reader.tags
                 if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")  # fmt: skip
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    content = page.read_text(encoding="utf-8")
    for kind in ("script", "style"):
        (text,) = re.findall(f"<{kind}>(.*?)</{kind}>", content, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not [a for tag, a in reader.tags if tag in ("img", "link", "iframe") or "src" in a]
    assert "http://" not in content.replace("http://www.w3.org", "")
    assert "https://" not in content


def test_each_picture_is_on_the_page_once_and_only_if_it_is_shown(tmp_path: Path) -> None:
    samples = samples_of(400)
    page = page_of(tmp_path, samples, findings_of(samples, 200))
    data, pictures = data_in(page), pictures_in(page)
    assert len(pictures) == len(data["names"]) == len(set(data["names"]))
    assert 200 < len(pictures) < 400
    assert len(re.findall(r'id="pictures-\d', page.read_text())) == -(-len(pictures) // CHUNK)
    place = data["names"].index(samples.names[7])
    made = Image.open(io.BytesIO(base64.b64decode(pictures[place]))).convert("RGB")
    truth = samples.images.load(torch.tensor([7]))[0].float().mean()  # type: ignore[union-attr]
    assert abs(np.asarray(made).mean() - float(truth)) < 10


def test_as_many_suspects_as_wished_the_worst_ones(tmp_path: Path) -> None:
    samples = samples_of()
    data = data_in(page_of(tmp_path, samples, findings_of(samples), most_pictures=5))
    assert [data["names"][row[0]] for row in data["suspects"]] == samples.names[:5]
    assert data["total"] == 12, "it says how many there are"
    with pytest.raises(ConfigError, match="most_pictures must be at least 0, got -1"):
        page_of(tmp_path, samples, findings_of(samples), most_pictures=-1)


def test_no_kind_of_problem_is_left_out_for_another(tmp_path: Path) -> None:
    samples = samples_of()
    many = tuple(PictureProblem("copies", (row, row + 1)) for row in range(30))
    findings = findings_of(samples, problems=(*many, PictureProblem("dark", (35,))))
    data = data_in(page_of(tmp_path, samples, findings, most_pictures=10))
    kinds = [problem[0] for problem in data["problems"]]
    assert kinds.count("dark") == 1
    assert 4 <= kinds.count("copies") <= 5
    assert data["totals"] == {"copies": 30, "dark": 1}


def test_scores_that_are_not_numbers_are_none(tmp_path: Path) -> None:
    samples = samples_of()
    one = suspect(samples, 0)
    strange = type(one)(0, 0, 1, float("nan"), (), ())
    data = data_in(page_of(tmp_path, samples, findings_of(samples, suspects=(strange,))))
    assert data["suspects"][0][3] is None


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("nlbench clean 'my photos' --selector knn", "'my photos'"),
        ("", "made"),
        ("nlbench clean --selector knn", "made"),
        ("nlbench clean 'open quote", "made"),
    ],
)
def test_the_command_that_applies_names_the_source(
    tmp_path: Path, command: str, expected: str
) -> None:
    samples = samples_of()
    text = Reader(page_of(tmp_path, samples, findings_of(samples), command=command)).text
    assert f"nlbench clean {expected} --apply fixes.csv --out cleaned/" in text


def test_links_lead_to_the_files_from_where_the_page_is(tmp_path: Path) -> None:
    root = tmp_path / "my photos"
    names = ["a b/50%.png", "a b/ü?#.png"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(root / name)
    samples = Samples("x", names, np.zeros(2, dtype=np.int64), CLASSES, ["", ""], None, "f",
                      root=root, files=names)  # fmt: skip
    findings = findings_of(samples, 2, suspects=tuple(
        type(one)(one.row, 0, 1, 0.0, (), ()) for one in (suspect(samples, 0), suspect(samples, 1))
    ), problems=(), classes=())  # fmt: skip
    (tmp_path / "report").mkdir()
    data = data_in(page_of(tmp_path / "report", samples, findings))
    assert data["base"] == "./../my%20photos/"
    assert data["hrefs"] == {}
    assert len([p for p in pictures_in(tmp_path / "report" / "index.html") if p]) == 2


def test_without_pictures_there_is_a_page_too(tmp_path: Path) -> None:
    samples = samples_of(images=None)
    page = page_of(tmp_path, samples, findings_of(samples))
    assert not data_in(page)["hasPictures"]
    assert set(pictures_in(page)) == {""}
    assert "could not be read" not in Reader(page).text


def test_nothing_found_is_said(tmp_path: Path) -> None:
    samples = samples_of()
    findings = findings_of(samples, 0, pairs=(), problems=(), wrong=None)
    text = Reader(page_of(tmp_path, samples, findings)).text
    assert "The share of wrong labels is unknown; of 40 labels, none is suspected." in text


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    samples = samples_of()
    page_of(tmp_path, samples, findings_of(samples)).write_text("old")
    bad = findings_of(samples, suspects=(type(suspect(samples, 0))(999, 0, 1, 0.0, (), ()),))
    with pytest.raises(IndexError):
        page_of(tmp_path, samples, bad)
    assert (tmp_path / "index.html").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir() if "index" in file.name] == ["index.html"]
