"""The training loop, networks, batch augmentation, and one file per trainer."""

# Of all that trainers share: loop, networks, augmentation, optimiser. Raised when its numbers
# change; part of every run's fingerprint, guarded by tests/golden.
VERSION = 1
