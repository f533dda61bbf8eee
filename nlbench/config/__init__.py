"""What is to be run: from recipe, flags and settings to one validated configuration, and back.

It reads no data and runs nothing; a spawned worker imports it before torch.
"""
