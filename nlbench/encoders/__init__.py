"""Frozen encoders, their prompts and their cache of embeddings; nothing here is trained."""
