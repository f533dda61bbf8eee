"""Labels that people gave: the label sets of CIFAR-N, checked against the data set.

Source: Wei et al., ICLR 2022, "Learning with Noisy Labels Revisited" (arXiv 2110.12088). The files
are pickled dictionaries of arrays; they are read with torch's restricted unpickler, which builds
integer arrays and nothing else.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nlbench.data.labels import checked_labels
from nlbench.errors import ConfigError, DataError, did_you_mean
from nlbench.files import is_file
from nlbench.noise.labels import Drawn, Labels, counted_matrix
from nlbench.plugins.versions import versioned

# Names as the paper and the tables say them, and the keys in the files.
LABEL_SETS = {
    "aggre": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worse": "worse_label",
    "noisy": "noisy_label",
}
HOW_TO_GET = (
    "CIFAR-N's CIFAR-10_human.pt and CIFAR-100_human.pt come from "
    "https://github.com/UCSC-REAL/cifar-10-100n (folder data); put them under DIR/cifar_n and use "
    "--data-dir DIR, or name a file with --set noise.label_file=FILE"
)


@versioned(1)
def human(
    clean: Labels,
    n_classes: int,
    rate: float | None,
    rng: np.random.Generator,
    label_set: str | None = None,
    label_file: str | Path | None = None,
    subset: npt.NDArray[np.bool_] | None = None,
) -> Drawn:
    """Labels given by people (CIFAR-N): nothing is drawn, the file is the noise.

    Args:
        clean: (N,) clean labels; the file's ``clean_label`` must agree with them.
        n_classes: K.
        rate: None; the labels have the rate they have.
        rng: Not used.
        label_set: ``aggre``, ``random1``, ``random2``, ``random3`` or ``worse`` (CIFAR-10N),
            ``noisy`` (CIFAR-100N); may be left out where the file holds only one.
        label_file: A ``*_human.pt``; the runner gives the data set's own under ``--data-dir``.
        subset: (M,) bool, which of the M published samples are here; None for all of them.

    Raises:
        ConfigError: if no file is given or it has no such set.
        DataError: if the file is missing, damaged, or belongs to other data.
    """
    if label_file is None:
        raise ConfigError(f"noise 'human' needs a label file for this data set: {HOW_TO_GET}.")
    path = Path(label_file).expanduser()
    sets = read_human_labels(path)
    present = np.ones(len(clean), dtype=bool) if subset is None else subset
    people = sets[_set_name(path, sets, label_set)]
    _check_same_data(path, sets["clean"], clean, present)
    noisy = checked_labels(f"labels of '{path}'", people[present], n_classes)
    return noisy, counted_matrix(clean, noisy, n_classes)


def read_human_labels(path: Path) -> dict[str, Labels]:
    """Return the label sets of a CIFAR-N file by name, and the true labels as ``clean``.

    Raises:
        DataError: if it is missing, is not such a file, or its sets differ in length.
    """
    content = _read(path)
    keys = {"clean": "clean_label", **LABEL_SETS}
    sets = {name: content[key] for name, key in keys.items() if key in content}
    if "clean" not in sets or len(sets) < 2:
        raise DataError(
            f"label file '{path}' must have 'clean_label' and human labels, got "
            f"{sorted(map(str, content))[:8]}: {HOW_TO_GET}."
        )
    for name, labels in sets.items():
        whole = isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu"
        if not whole or len(labels) != len(sets["clean"]):
            raise DataError(
                f"label file '{path}': {keys[name]!r} must be as many whole numbers as "
                f"'clean_label'. It is damaged: {HOW_TO_GET}."
            )
    return {name: labels.astype(np.int64) for name, labels in sets.items()}


def _read(path: Path) -> dict[Any, Any]:
    import torch

    if not is_file(path):
        raise DataError(f"label file '{path}' does not exist: {HOW_TO_GET}.")
    integers = [type(np.dtype(code)) for code in ("i8", "i4", "u1")]
    # What arrays are unpickled with. numpy 2 moved it; files name either place.
    rebuild: Any = np.empty(0).__reduce__()[0]
    places = [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals([*places, np.ndarray, np.dtype, *integers]),
        ):
            warnings.simplefilter("ignore")  # of torch, on pickles that are not its own
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged pickles raise many types (UnpicklingError, EOFError, struct.error, KeyError, ...).
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"label file '{path}' cannot be read: {reason} {HOW_TO_GET}.") from None
    return content if isinstance(content, dict) else {}


def _set_name(path: Path, sets: dict[str, Labels], name: str | None) -> str:
    names = [key for key in sets if key != "clean"]
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        problem = "`label_set` must be named" if name is None else f"no label set {name!r}"
        raise ConfigError(
            f"label file '{path.name}': {problem}. {did_you_mean(str(name), names)} "
            f"Use --set noise.label_set={names[0]}."
        )
    return name


def _check_same_data(
    path: Path, theirs: Labels, clean: Labels, present: npt.NDArray[np.bool_]
) -> None:
    if len(theirs) != len(present):
        raise DataError(
            f"label file '{path}' has {len(theirs)} labels, the data set has {len(present)} "
            "training samples. Check that the file belongs to this data set."
        )
    differ = np.flatnonzero(theirs[present] != clean)
    if len(differ):
        first = int(differ[0])
        position = int(np.flatnonzero(present)[first])
        raise DataError(
            f"label file '{path}' belongs to other data or another order: its clean_label "
            f"differs from the data set's in {len(differ)} of {len(clean)} samples, first at "
            f"index {position} ({theirs[position]} there, {clean[first]} here). CIFAR-N is in "
            "torchvision's order, not in that of TensorFlow Datasets."
        )
