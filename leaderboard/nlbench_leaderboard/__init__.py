"""Turns run records into a ranked leaderboard: HTML, Markdown, CSV, JSON and a terminal table.

It only reads records, so a leaderboard can be built from the local store, from a team's MLflow
server, or from contributed records. The road: `sources` (what is read beside records), `ranking`
(statistics and the rules of fairness), `formats`, `figures` and `page` (what is shown); `build`
writes the files, `command` is ``nlbench leaderboard``.
"""
