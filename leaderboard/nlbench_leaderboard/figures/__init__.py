"""Boards and runs as pictures: geometry for SVG, without a plotting library and without HTML."""
