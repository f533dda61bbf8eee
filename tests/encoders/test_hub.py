"""Models from a hub, over the loopback interface: a server with the hub's own layout.

The child processes are what a user starts: huggingface_hub reads its environment once, on import.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from nlbench.encoders import hub
from nlbench.encoders.features import load_encoder

REVISION = "0123456789abcdef0123456789abcdef01234567"
BUNDLED = Path(str(files("nlbench.encoders") / "bundled"))
REPOSITORIES = {"org/clip": BUNDLED / "clip", "org/glyphs": BUNDLED / "glyphs"}
TEXTS = ["the digit three", "a photo of the letter q"]
PROXIES = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]

CHILD = """
import json, sys, time
import torch
from nlbench.encoders.features import load_encoder
from nlbench.errors import DataError

torch.set_num_threads(1)
out, *names = sys.argv[1:]
generator = torch.Generator().manual_seed(1)
images = torch.randint(0, 256, (4, 3, 40, 40), generator=generator).to(torch.uint8)
answers = {}
for name in names:
    started = time.monotonic()
    try:
        encoder = load_encoder(name)
        answer = {"images": encoder.encode_images(images, torch.device("cpu")).tolist()}
        if name.startswith("open_clip"):
            answer["texts"] = encoder.encode_text(TEXTS).tolist()
    except DataError as error:
        answer = {"error": str(error)}
    answers[name] = answer | {"seconds": time.monotonic() - started}
with open(out, "w") as file:
    json.dump(answers, file)
""".replace("TEXTS", repr(TEXTS))


@dataclass
class Hub:
    """What is served, and what was asked for."""

    url: str
    requests: list[tuple[str, str]] = field(default_factory=list)

    def downloads(self) -> list[str]:
        return [path for method, path in self.requests if method == "GET"]


def handler(served: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            served.requests.append((self.command, self.path))
            found = re.fullmatch(r"/(\w+/\w+)/resolve/(\w+)/([\w.]+)", self.path.split("?")[0])
            repository = REPOSITORIES.get(found[1]) if found else None
            if found is None or repository is None:
                self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})
            elif found[2] not in ("main", REVISION):
                self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
            elif not (repository / found[3]).is_file():
                self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": REVISION})
            else:
                content = (repository / found[3]).read_bytes()
                etag = f'"{hashlib.sha256(content).hexdigest()}"'
                headers = {"ETag": etag, "X-Repo-Commit": REVISION, "Accept-Ranges": "none"}
                self.reply(200, content, headers, with_body)

        def reply(
            self, status: int, content: bytes, headers: dict[str, str], with_body: bool = True
        ) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Say nothing: pytest shows the requests of a failed test anyway."""

    return Handler


@contextmanager
def serving() -> Iterator[Hub]:
    served = Hub("")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(served)) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def load_in_a_child(folder: Path, endpoint: str, *names: str) -> dict[str, Any]:
    """Return each encoder's embeddings, or its error, as a fresh process with a cache gets them."""
    script, out = folder / "child.py", folder / "answers.json"
    script.write_text(CHILD)
    dropped = {"HF_HUB_OFFLINE", "HF_TOKEN", *PROXIES, *map(str.upper, PROXIES)}
    environment = {k: v for k, v in os.environ.items() if k not in dropped}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "OMP_NUM_THREADS": "1"}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(out), *names],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(out.read_text())
    return answers


def assert_same_model(answer: dict[str, Any], bundled: str) -> None:
    assert "error" not in answer, answer
    encoder = load_encoder(bundled)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (4, 3, 40, 40), generator=generator).to(torch.uint8)
    expected = encoder.encode_images(images, torch.device("cpu"))
    torch.testing.assert_close(torch.tensor(answer["images"]), expected, atol=1e-5, rtol=0)
    if "texts" in answer:
        texts = encoder.encode_text(TEXTS)
        torch.testing.assert_close(torch.tensor(answer["texts"]), texts, atol=1e-5, rtol=0)


def test_models_from_a_hub_are_those_of_the_folder_and_stay_when_the_hub_goes(
    tmp_path: Path,
) -> None:
    clip, glyphs, other = (
        "open_clip:hf-hub:org/clip",
        "timm:hf-hub:org/glyphs",
        "open_clip:hf-hub:org/other",
    )
    with serving() as served:
        first = load_in_a_child(tmp_path, served.url, clip, glyphs, other)
        downloads = served.downloads()
    for name, bundled in ((clip, "bundled-clip"), (glyphs, "bundled-glyphs")):
        assert_same_model(first[name], bundled)
    weights = [path for path in downloads if path.endswith(".safetensors")]
    assert len(weights) == 2, downloads
    assert "'open_clip:hf-hub:org/other' could not be loaded" in first[other]["error"]

    again = load_in_a_child(tmp_path, served.url, clip, glyphs, other, "timm:hf-hub:org/other")
    for name, bundled in ((clip, "bundled-clip"), (glyphs, "bundled-glyphs")):
        assert_same_model(again[name], bundled)
    for name in (other, "timm:hf-hub:org/other"):
        assert "run once on a machine with internet" in again[name]["error"]
        assert again[name]["seconds"] < 20


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.usefixtures("no_proxies")
class TestWhetherTheHubAnswers:
    def test_a_page_that_is_not_found_is_an_answer(self) -> None:
        with serving() as served:
            assert hub._answers(served.url)

    def test_nobody_listens(self, closed_port: int) -> None:
        assert not hub._answers(f"http://127.0.0.1:{closed_port}")

    def test_a_server_that_hangs_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub, "_ANSWER_TIMEOUT_S", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            assert not hub._answers(f"http://127.0.0.1:{mute.getsockname()[1]}")

    def test_a_server_that_speaks_no_http(self) -> None:
        def speak(server: socket.socket) -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=speak, args=[server])
            thread.start()
            assert not hub._answers(f"http://127.0.0.1:{server.getsockname()[1]}")
            thread.join()

    @pytest.mark.parametrize("endpoint", ["", "huggingface", "http://", "http://[::1"])
    def test_an_endpoint_that_is_no_address(self, endpoint: str) -> None:
        assert not hub._answers(endpoint)

    def test_a_hub_behind_a_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving() as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            assert hub._answers("http://hub.invalid")
            assert [method for method, _ in proxy.requests] == ["HEAD"]

    def test_a_proxy_that_is_down(self, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
        assert not hub._answers("http://hub.invalid")

    def test_no_proxy_is_honoured(self, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with serving() as served:
            assert hub._answers(served.url)

    def test_a_socks_proxy_is_left_to_the_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
        assert hub._answers("http://hub.invalid")
        # Where the scheme has a proxy of its own, that one is used, and it can be asked.
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert not hub._answers("http://hub.invalid")


@pytest.mark.usefixtures("no_proxies")
def test_offline_mode_is_put_back(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed_port}")
    with pytest.raises(KeyError), hub.offline_where_unreachable("ViT-B-32"):
        assert constants.HF_HUB_OFFLINE
        raise KeyError
    assert not constants.HF_HUB_OFFLINE
    with serving() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        with hub.offline_where_unreachable("ViT-B-32"):
            assert not constants.HF_HUB_OFFLINE
        with hub.offline_where_unreachable("local-dir:models"):
            assert constants.HF_HUB_OFFLINE
