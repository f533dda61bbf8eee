"""The training loop, networks, batch augmentation, and one file per trainer."""
