"""The HTML page of the boards and the page of each run, from templates; no statistics."""
