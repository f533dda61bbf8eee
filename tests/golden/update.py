"""Renew golden answers: `python tests/golden/update.py [NAME ...]`, all that may be by default.

A changed answer whose version was not raised is not written. `--problem-changed` writes it all the
same: for an edit of the problems here, never for an edit of a component.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).parent]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as selectors/clipcleaner")
    parser.add_argument("--problem-changed", action="store_true", help="renew unraised ones too")
    parser.add_argument("--list", action="store_true", help="only say what is stale")
    asked = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from golden import answer_files
    from golden.entries import entries

    every = entries()
    unknown = [name for name in asked.names if name not in every]
    if unknown:
        parser.error(f"no entry {unknown[0]!r}. Entries: {', '.join(every)}")
    import torch

    torch.set_num_threads(1)
    refused = 0
    for name in asked.names or every:
        entry = every[name]
        answer = entry.answer()
        verdict = entry.verdict(answer)
        if not verdict:
            continue
        if asked.list or not (entry.may_be_renewed(answer) or asked.problem_changed):
            refused += 1
            print(f"{name}: {verdict}")
            continue
        answer_files.save(name, answer_files.Stored(entry.versions, answer))
        print(f"{name}: written")
    for name in sorted(answer_files.stored_names() - set(every)):
        refused += 1
        print(f"{name}: no built-in component: delete {answer_files.path_of(name)}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
