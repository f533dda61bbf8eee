"""The lock: a small fixed problem for every built-in component, and its answer in `answers/`."""
