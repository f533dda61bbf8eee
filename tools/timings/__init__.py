"""The sections of `tools/performance.py`: a module each, with the baseline they measure against."""
