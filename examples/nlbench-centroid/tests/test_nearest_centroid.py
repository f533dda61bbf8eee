"""The checks of nlbench, one test for each, and what the method does on four points."""

from __future__ import annotations

from nlbench_centroid.nearest_centroid import NearestCentroid

from nlbench import TrainingData, get_selector
from nlbench.conformance import selector_checks

test_nearest_centroid = selector_checks(NearestCentroid)


def test_it_is_found_by_its_name() -> None:
    assert get_selector("nearest-centroid", n_rounds=2) == NearestCentroid(n_rounds=2)


def test_the_point_among_others_is_dropped() -> None:
    points = [[1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [0.0, 1.0], [0.1, 0.9], [0.95, 0.05]]
    data = TrainingData.from_arrays([0, 0, 0, 1, 1, 1], n_classes=2, embeddings=points)
    assert NearestCentroid().select(data).keep.tolist() == [True] * 5 + [False]
