"""``python -m nlbench`` is ``nlbench``."""

from nlbench.cli import main

if __name__ == "__main__":
    main()
