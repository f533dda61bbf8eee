"""Data sources: one file each, and what they all yield (`image_data.ImageData`)."""
