"""Training on a selection: loop, networks, augmentation, a file per trainer; it selects nothing."""

# Of all that trainers share: loop, networks, augmentation, optimiser. Raised when its numbers
# change; part of every run's fingerprint, guarded by tests/golden.
VERSION = 1
