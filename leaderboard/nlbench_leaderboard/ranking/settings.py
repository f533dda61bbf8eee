"""The noise of a board in a few words, for headings of columns: ``symmetric 50 %``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nlbench_leaderboard.escape import shorten
from nlbench_leaderboard.ranking.board import Board

# The label sets of CIFAR-10N, which three people labelled (Wei et al., ICLR 2022).
_LABEL_SETS = {
    "aggre": "majority of 3 labels",
    "random1": "1st of 3 labels",
    "random2": "2nd of 3 labels",
    "random3": "3rd of 3 labels",
    "worse": "worst of 3 labels",
}


def percent_text(share: float) -> str:
    """Return a rate in percent with as many digits as it needs.

    >>> percent_text(0.4), percent_text(0.125)
    ('40 %', '12.5 %')
    """
    return f"{round(100 * share, 6):g} %"


def settings_of(boards: Sequence[Board]) -> dict[str, str]:
    """Return the noise of each board by the board's id, unique among the boards of a data set."""
    plain = {board.id: _noise(board) for board in boards}
    taken = Counter((board.dataset.name, plain[board.id]) for board in boards)
    return {
        # The full title says in what two boards of the same noise differ.
        board.id: plain[board.id]
        if taken[board.dataset.name, plain[board.id]] == 1
        else f"{plain[board.id]} · {board.title.rpartition(' · ')[2]}"
        for board in boards
    }


def _noise(board: Board) -> str:
    noise = board.noise
    rate = "" if noise.nominal_rate is None else f" {percent_text(noise.nominal_rate)}"
    label_set = noise.params.get("label_set")
    if label_set is None:
        return f"{shorten(noise.kind, 40)}{rate}"
    name = shorten(str(label_set), 40)
    words = f" ({_LABEL_SETS[name]})" if name in _LABEL_SETS else ""
    return f"{shorten(noise.kind, 40)}{rate} {name}{words}"
