"""Boards as text, tables and JSON; no HTML, which is in `page`, and no figures."""
