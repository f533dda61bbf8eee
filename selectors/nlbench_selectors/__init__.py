"""The selectors that come with nlbench: one file each, named as the selector is.

Nothing is registered here. A file dropped into this folder is listed, checked and run.
"""
