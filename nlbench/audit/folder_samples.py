"""A folder of class directories as samples: all parts of it, every image that can be decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nlbench.audit.samples import Samples
from nlbench.data.class_folders import (
    TEST,
    TRAIN,
    VALIDATION,
    ClassFile,
    Tally,
    class_files,
    sub_folders,
)
from nlbench.data.file_contents import add_contents, digests, new_digest
from nlbench.data.file_images import CompactNames, FileImages
from nlbench.data.imagenet_names import wnid_warning
from nlbench.data.looks import common_range, looks_at, mostly_flat
from nlbench.errors import DataError
from nlbench.files import readable

_SPLITS = TRAIN | TEST | VALIDATION
_LAYOUT = (
    "Put one directory per class into it, or into train/ and test/ in it; or write a table "
    "`file,label` and name that."
)


def folder_samples(root: Path, merge_sub_folders: bool = False) -> Samples:
    """Return all images of a folder, a directory per class, or such directories in each part.

    Args:
        root: The folder.
        merge_sub_folders: Whether sub-folders belong to the class above them even where every class
            has the same ones, which is refused otherwise.

    Raises:
        DataError: if it holds no classes, fewer than two, or a class without an image.
    """
    root = root.expanduser().absolute()
    tally = Tally()
    parts = part_folders(root, tally)
    listed = [
        (part, file)
        for part in parts
        for file in class_files(root, root / part, bool(part) or merge_sub_folders, tally)
    ]
    classes = sorted({file.label for _, file in listed})
    if len(classes) < 2:
        found = f"1 class, {readable(classes[0])}/" if classes else "no class directories"
        raise DataError(
            f"folder '{readable(str(root))}' must hold at least 2 classes, got {found}: a label "
            f"can be wrong only where there is another. {_LAYOUT}"
        )
    return _samples(root, listed, classes, tally)


def part_folders(root: Path, tally: Tally) -> list[str]:
    """Return the names of the folders of parts, such as train and test; one empty name without.

    A folder that is named like a part is a class where it lies alone among others.
    """
    folders = sub_folders(root)
    parts = [name for name in folders if name.lower() in _SPLITS]
    if not parts or (len(parts) == 1 and len(folders) > 1):
        return [""]
    for name in folders:
        if name not in parts:
            tally.add(f"outside of {', '.join(f'{readable(part)}/' for part in parts)}", f"{name}/")
    return parts


def _samples(
    root: Path, listed: Sequence[tuple[str, ClassFile]], classes: Sequence[str], tally: Tally
) -> Samples:
    looks = looks_at(root, [file.name for _, file in listed])
    good = looks["is_image"]
    taken = [pair for pair, is_image in zip(listed, good, strict=True) if is_image]
    bad = [file.name for (_, file), is_image in zip(listed, good, strict=True) if not is_image]
    if not taken:
        raise DataError(
            f"none of the {len(bad)} images in '{readable(str(root))}' can be decoded: "
            f"{readable(bad[0])}, ... Look at one of them in a viewer."
        )
    number = {name: i for i, name in enumerate(classes)}
    files = [file.name for _, file in taken]
    class_names = tuple(readable(name) for name in classes)
    digest = new_digest("audit")
    add_contents(digest, files, digests(root, files))
    return Samples(
        name=readable(root.name or str(root)),
        names=CompactNames(readable(name) for name in files),
        labels=np.array([number[file.label] for _, file in taken], dtype=np.int64),
        class_names=class_names,
        parts=[readable(part) for part, _ in taken],
        images=FileImages(root, CompactNames(files), common_range(looks[good])),
        fingerprint=digest.hexdigest(),
        root=root,
        files=CompactNames(files),
        unreadable=tuple(readable(name) for name in bad),
        passed_over=tally.summary(),
        warnings=tuple(
            filter(None, [mostly_flat(looks[good]["is_flat"]), wnid_warning(class_names)])
        ),
    )
