"""The road of a run: inputs, selection, training, record; and many runs in a sweep.

What is run is decided in `nlbench.config`, what is kept in `nlbench.results`. Nothing is imported
here: a spawned worker reads `nlbench.runner.worker` before torch.
"""
