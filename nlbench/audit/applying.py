"""From fixes to a corrected data set: a copy, or the folder itself with a file that undoes it."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, cast, get_args

from nlbench.audit.fixes import REMOVE, Fix, Fixes, checked_against
from nlbench.audit.samples import Samples
from nlbench.audit.table_samples import columns_of, read_table
from nlbench.audit.undo import REMOVED, Move, move_all
from nlbench.errors import ConfigError, DataError
from nlbench.files import write_atomic

Link = Literal["copy", "hard", "symbolic"]

_PUT: Mapping[str, Callable[[Path, Path], object]] = {
    "copy": shutil.copy2,
    "hard": os.link,
    "symbolic": lambda source, target: target.symlink_to(source.absolute()),
}


@dataclass(frozen=True)
class Applied:
    """What was done.

    Attributes:
        where: The corrected folder or label file.
        n_relabelled, n_removed, n_kept: Images.
        undo: The file that undoes it; None for a copy, which touched nothing.
    """

    where: Path
    n_relabelled: int
    n_removed: int
    n_kept: int
    undo: Path | None = None


def link_kind(word: str) -> Link:
    """Return what a copy of a folder is made of.

    Raises:
        ConfigError: if it is another word.
    """
    if word not in get_args(Link):
        raise ConfigError(f"--link must be copy, hard or symbolic, got {word!r}.")
    return cast("Link", word)


def apply_fixes(
    samples: Samples,
    fixes: Fixes | str | Path,
    out: str | Path | None = None,
    *,
    in_place: bool = False,
    link: Link = "copy",
) -> Applied:
    """Write a data set with its labels corrected; the originals stay as they are.

    A folder becomes a folder of the same layout, a table a table, everything else a table
    `file,label`.

    Args:
        samples: The data set as it is now.
        fixes: What to do, or the file that says so.
        out: Where the copy goes: a folder that does not exist yet or is empty; for tables a file.
        in_place: Change the folder or table itself, and write a file that undoes it.
        link: What a copy of a folder is made of: copies, or links to the originals.

    Raises:
        ConfigError: if neither or both of `out` and `in_place` are given, or it cannot be done in
            place.
        DataError: if the fixes do not fit, or something is in the way. Nothing is done then.
    """
    read = fixes if isinstance(fixes, Fixes) else Fixes.read(fixes)
    changes = checked_against(read, samples)
    folder = samples.root if samples.label_file is None else None
    undo: Path | None = None
    try:
        if out is None and in_place:
            where, undo = _in_place(samples, changes, folder)
        elif out is None or in_place:
            raise ConfigError("a corrected copy needs --out PATH, or --in-place without it.")
        else:
            where = Path(out).expanduser().absolute()
            if folder is not None:
                _copied(samples, changes, folder, where, link)
            else:
                where = _written(samples, changes, where)
    except OSError as error:
        raise DataError(
            f"'{error.filename or out}' cannot be written: {error.strerror}. The originals are as "
            "they were, unless an undo file is named above."
        ) from error
    n_removed = sum(fix.action == REMOVE for fix in changes.values())
    return Applied(where, len(changes) - n_removed, n_removed, len(samples) - len(changes), undo)


def _copied(
    samples: Samples, changes: Mapping[int, Fix], root: Path, out: Path, link: Link
) -> None:
    """Build the copy beside its place, and rename it when it is whole."""
    if out == root or root in out.parents or out in root.parents:
        raise ConfigError(f"--out must be outside of '{root}' and not above it, got '{out}'.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"'{out}' is there already and not an empty folder. Name another one.")
    targets = _targets(samples, changes)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for row, target in targets.items():
            place = partial / target
            place.parent.mkdir(parents=True, exist_ok=True)
            _PUT[link](root / samples.files[row], place)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _targets(samples: Samples, changes: Mapping[int, Fix]) -> dict[int, str]:
    """Return where each image that stays goes, relative to the root; no two at one place."""
    stays = [row for row in range(len(samples)) if row not in changes]
    out = {row: samples.files[row] for row in stays}
    taken = {name.lower() for name in out.values()}
    folder_of = {
        label: _class_folder(samples, row) for row, label in enumerate(samples.labels.tolist())
    }
    number = {name: i for i, name in enumerate(samples.class_names)}
    for row, fix in changes.items():
        if fix.action == REMOVE:
            continue
        path = PurePosixPath(samples.files[row])
        part = samples.parts[row]
        folder = PurePosixPath(folder_of[number[fix.label]])
        below = path.relative_to(_class_folder_path(samples, row))
        new = PurePosixPath(*([path.parts[0]] if part else []), folder, below)
        out[row] = _free(str(new), taken)
        taken.add(out[row].lower())
    return out


def _class_folder_path(samples: Samples, row: int) -> PurePosixPath:
    parts = PurePosixPath(samples.files[row]).parts
    return PurePosixPath(*parts[: 2 if samples.parts[row] else 1])


def _class_folder(samples: Samples, row: int) -> str:
    return _class_folder_path(samples, row).name


def _free(name: str, taken: set[str]) -> str:
    """Return the name, or with a number where another image has it (in any case of letters)."""
    path, number = PurePosixPath(name), 1
    while name.lower() in taken:
        number += 1
        name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    return name


def _in_place(samples: Samples, changes: Mapping[int, Fix], root: Path | None) -> tuple[Path, Path]:
    if root is not None:
        targets = _targets(samples, changes)
        moves = [
            Move(samples.files[row], targets.get(row, f"{REMOVED}/{samples.files[row]}"))
            for row in changes
        ]
        return root, move_all(root, moves)
    table = samples.label_file
    if table is None:
        raise ConfigError(
            f"{samples.name!r} cannot be changed in place: its labels are no folders and no table. "
            "Give --out PATH for a table of corrected labels."
        )
    undo = table.with_name(f"{table.name}.before-nlbench")
    number = 1
    while undo.exists():
        number += 1
        undo = table.with_name(f"{table.name}.before-nlbench-{number}")
    write_atomic(undo, table.read_bytes())
    _written(samples, changes, table, replace=True)
    return table, undo


def _written(
    samples: Samples, changes: Mapping[int, Fix], out: Path, replace: bool = False
) -> Path:
    """Write a table with the corrected labels: the user's own columns, or `file,label`."""
    if not out.suffix:
        out = out / (samples.label_file.name if samples.label_file else "labels.csv")
    if out.exists() and not replace:
        raise DataError(f"'{out}' is there already. Name another file, or remove it.")
    by_name = {samples.names[row]: fix for row, fix in changes.items()}
    if samples.label_file is None:
        rows = [
            {"file": name, "label": samples.class_names[label]}
            for name, label in zip(samples.names, samples.labels.tolist(), strict=True)
        ]
        file, label = "file", "label"
    else:
        rows = read_table(samples.label_file)
        file, label, _ = columns_of(samples.label_file, list(rows[0]))
    kept = []
    for row in rows:
        fix = by_name.get(row[file])
        if fix is None:
            kept.append(row)
        elif fix.action != REMOVE:
            kept.append({**row, label: fix.label})
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(kept)
    write_atomic(out, text.getvalue())
    return out
