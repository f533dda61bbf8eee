"""Asking for weights without waiting for a network that is not there."""

from __future__ import annotations

import logging
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

_CONNECT_TIMEOUT_S = 5.0


@contextmanager
def offline_where_unreachable(model: str) -> Iterator[None]:
    """Load from the local cache alone where the model hub does not answer.

    Without this, a machine without a network waits through every retry of every file, most of a
    minute per model. Messages of the hub's client are held back meanwhile: our own error says
    what is missing.
    """
    from huggingface_hub import constants

    before, level = constants.HF_HUB_OFFLINE, logging.root.manager.disable
    local = model.startswith("local-dir:")
    constants.HF_HUB_OFFLINE = before or local or not _answers(constants.ENDPOINT)
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        logging.disable(level)


def _answers(endpoint: str) -> bool:
    """Tell whether a connection can be opened; behind a proxy only the client can tell."""
    parts = urllib.parse.urlsplit(endpoint)
    if urllib.request.getproxies().get(parts.scheme):
        return True
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        with socket.create_connection((parts.hostname or "", port), _CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
