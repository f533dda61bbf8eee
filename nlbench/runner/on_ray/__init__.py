"""Cells of a sweep as tasks of a Ray cluster; no other executor and no result is here.

The driver has `executor`, `shipping` and what is common to all executors elsewhere; a node has
`task`, `node_share` and `embeddings`; between them is the `post`, an actor.
"""
