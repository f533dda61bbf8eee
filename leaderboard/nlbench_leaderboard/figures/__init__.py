"""Boards and runs as pictures: geometry for SVG; no HTML, and no plotting library."""
