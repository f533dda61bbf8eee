"""Nearest centroid, a selector for nlbench."""
