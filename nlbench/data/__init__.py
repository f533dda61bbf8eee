"""Images and their labels, a file per source; noise is not made here."""
