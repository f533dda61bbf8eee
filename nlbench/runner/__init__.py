"""The road of a run from inputs to record, and many runs in a sweep; no settings, no results.

What is run is decided in `nlbench.config`, what is kept in `nlbench.results`. Nothing is imported
here: a spawned worker reads `nlbench.runner.worker` before torch.
"""
