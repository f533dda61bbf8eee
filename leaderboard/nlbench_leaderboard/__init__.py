"""Turns run records into a ranked leaderboard: HTML, Markdown, CSV, JSON and a terminal table.

It reads records and nothing else, so a leaderboard can be built from the local store, from a
team's MLflow server, or from records that someone sent. `rank` holds the statistics and the rules
of fairness, `build` writes the files, `text` prints, `command` is ``nlbench leaderboard``.
"""
