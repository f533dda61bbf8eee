"""What is wrong with pictures, not with their labels: copies, odd ones, outliers, split classes."""

from __future__ import annotations

from nlbench.audit.pictures.problems import feature_problems, picture_problems
from nlbench.audit.pictures.rotation import rotation_problems

__all__ = ["feature_problems", "picture_problems", "rotation_problems"]
