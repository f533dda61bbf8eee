"""Boards in words: the data set, the noise and the protocol, as people write them.

Where a word is not known, what the record says is used as it is: a title never fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nlbench.encoders.frozen_names import frozen_encoder, frozen_hidden
from nlbench.results.record import DatasetInfo, NoiseInfo, ProtocolInfo, RunRecord
from nlbench_leaderboard.escape import shorten
from nlbench_leaderboard.ranking.grouping import BoardKey, difference, digest

# Names of networks and encoders as their authors spell them.
_SPELLED = {
    "bundled-clip": "bundled CLIP",
    "bundled-glyphs": "bundled glyphs",
    "efficientnet-lite0": "EfficientNet-Lite0",
    "preact-resnet18": "PreAct ResNet-18",
    "preact-resnet18-dividemix": "PreAct ResNet-18 (DivideMix's)",
    "resnet34-cifar": "ResNet-34",
    "small-cnn": "small CNN",
    "vgg19-bn-64": "VGG-19-BN",
    "vgg19-bn-clipcleaner": "VGG-19-BN (CLIPCleaner's)",
}
_RESNET = re.compile(r"resnet(\d+)(?:\.[\w.]+)?")
# Label sets of CIFAR-N, as Wei et al. (ICLR 2022) define them.
_LABEL_SETS = {
    "aggre": "majority of three annotators",
    "noisy": "one annotator",
    "random1": "first annotator",
    "random2": "second annotator",
    "random3": "third annotator",
    "worse": "worst set",
}
_OWN = {"labels": "labels from a file", "matrix": "noise by a transition matrix"}
_MOST_DIFFERENCES = 2
_LONGEST = 60


class BoardWords(NamedTuple):
    """The three parts of a board's title, for people; `extra` tells it from a board like it."""

    data: str
    noise: str
    protocol: str
    extra: str = ""

    @property
    def title(self) -> str:
        """The title on one line."""
        return " · ".join(part for part in self if part)


NO_WORDS = BoardWords("", "", "")


def board_words(
    groups: Mapping[BoardKey, Sequence[RunRecord]], names: Mapping[str, str]
) -> dict[BoardKey, BoardWords]:
    """Return each board in words; titles are unique on the page.

    Args:
        groups: The records of each board.
        names: Data sets in their usual spelling, by their name in records; others keep that name.
    """
    known = {key: _finished(records) for key, records in groups.items()}
    plain = {key: _words(record, names) for key, record in known.items()}
    twins: dict[str, list[BoardKey]] = {}
    for key, words in plain.items():
        twins.setdefault(words.title, []).append(key)
    told = {
        key: words if len(twins[words.title]) == 1
        else words._replace(extra=_difference(key, twins[words.title], known))
        for key, words in plain.items()
    }  # fmt: skip
    taken = Counter(words.title for words in told.values())
    return {
        key: words if taken[words.title] == 1
        else words._replace(extra=f"{words.extra} · {digest(*key)}")
        for key, words in told.items()
    }  # fmt: skip


def data_words(dataset: DatasetInfo, options: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return the data set in its usual spelling, with the size of a part of it."""
    name = shorten(names.get(dataset.name) or dataset.name, _LONGEST)
    if isinstance(options.get("n_train"), int):
        count = f"{dataset.n_train:,}".replace(",", " ")
        return f"{name}, {count} training images"
    return name


def noise_words(noise: NoiseInfo) -> str:
    """Return the noise in words: ``40 % symmetric noise``, ``human labels, worst set``."""
    if noise.kind == "human":
        label_set = str(noise.params.get("label_set") or "")
        chosen = _LABEL_SETS.get(label_set, shorten(label_set, _LONGEST))
        return f"human labels, {chosen}" if chosen else "human labels"
    if noise.kind == "none":
        return "labels as shipped" if noise.realized_rate is None else "clean labels"
    if noise.kind in _OWN:
        return _OWN[noise.kind]
    kind = shorten(noise.kind, _LONGEST)
    if noise.nominal_rate is None:
        return f"{kind} noise"
    return f"{100 * noise.nominal_rate:.6g} % {kind} noise"


def protocol_words(protocol: ProtocolInfo) -> str:
    """Return network, epochs and what is unusual; the protocol's id where there is no network."""
    training = protocol.settings.get("training")
    network = training.get("network") if isinstance(training, Mapping) else None
    if not isinstance(training, Mapping) or not isinstance(network, str) or not network:
        return shorten(protocol.id, _LONGEST)
    parts = [_network_words(network)]
    epochs = training.get("epochs")
    if isinstance(epochs, int):
        parts.append(f"{epochs} epoch{'' if epochs == 1 else 's'}")
    share = protocol.settings.get("equal_keep")
    if isinstance(share, int | float):
        parts.append(f"{100 * share:.6g} % kept")
    return ", ".join(parts)


def _finished(records: Sequence[RunRecord]) -> RunRecord:
    """Return the newest record with a result: one that failed may not know its data and noise."""
    return next((record for record in reversed(records) if record.metrics), records[-1])


def _words(record: RunRecord, names: Mapping[str, str]) -> BoardWords:
    return BoardWords(
        data_words(record.dataset, _options(record), names),
        noise_words(record.noise),
        protocol_words(record.protocol),
    )


def _options(record: RunRecord) -> Mapping[str, Any]:
    source = record.config.get("dataset")
    options = source.get("options") if isinstance(source, Mapping) else None
    return options if isinstance(options, Mapping) else {}


def _network_words(network: str) -> str:
    encoder, hidden = frozen_encoder(network), frozen_hidden(network)
    if encoder:
        name, _, argument = encoder.partition(":")
        # What follows is a side for encoders that we know; of others it is the model's name.
        known = name in _SPELLED and argument.isdecimal()
        text = f"{_SPELLED[name]} at {argument} px" if known else _spelled(encoder)
        return f"frozen {text}, {f'head with {hidden} hidden units' if hidden else 'linear head'}"
    source, _, model = network.partition(":")
    if source == "timm" and model:
        return _spelled(model)
    if source == "timm-pretrained" and model:
        return f"pretrained {_spelled(model)}"
    return _spelled(network)


def _spelled(name: str) -> str:
    resnet = _RESNET.fullmatch(name)
    return f"ResNet-{resnet[1]}" if resnet else _SPELLED.get(name, shorten(name, _LONGEST))


def _difference(
    key: BoardKey, twins: Sequence[BoardKey], known: Mapping[BoardKey, RunRecord]
) -> str:
    """Return what tells a board from its twins: a setting or two, else the start of a hash."""
    settings = {twin: _settings(known[twin]) for twin in twins}
    keys = sorted({name for one in settings.values() for name in one})
    differing = [k for k in keys if len({one.get(k) for one in settings.values()}) > 1]
    mine = settings[key]
    if 0 < len(differing) <= _MOST_DIFFERENCES and len(
        {tuple(one.get(k) for k in differing) for one in settings.values()}
    ) == len(twins):
        return ", ".join(f"{k} {shorten(mine.get(k, 'not set'), 40)}" for k in differing)
    return difference(key, twins)


def _settings(record: RunRecord) -> dict[str, str]:
    """Return the settings of data, noise and protocol as words and texts, hashes left out."""
    found: dict[str, str] = {}
    training = record.protocol.settings.get("training")
    parts = (_options(record), record.noise.params, record.protocol.settings,
             training if isinstance(training, Mapping) else {})  # fmt: skip
    for part in parts:
        for name, value in part.items():
            text = str(value)
            if not isinstance(value, Mapping) and not text.startswith("sha256:"):
                found[shorten(str(name), 40).replace("_", " ")] = text
    return found
