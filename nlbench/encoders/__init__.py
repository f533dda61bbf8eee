"""Frozen encoders: open_clip and timm models by name, two bundled tiny ones, and their cache."""
