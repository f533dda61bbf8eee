"""What is to be run: recipe, flags and settings as one validated configuration; it runs nothing.

It reads no data and runs nothing; a spawned worker imports it before torch.
"""
