"""Boards as text, tables and JSON; the page is in `page`, what is drawn in `figures`."""
