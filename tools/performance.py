"""Measures nlbench against what a user would otherwise write; prints docs/performance.md's tables.

    python tools/performance.py noise
    python tools/performance.py selection                    # on a GPU: --device cuda
    python tools/performance.py steps                        # where clipcleaner's time goes
    python tools/performance.py curves                       # and docs/images/selection-scaling.png
    python tools/performance.py sweep                        # the demo's grid, cold and warm
    python tools/performance.py sweep --jobs 2               # the grid one by one, and two at once
    python tools/performance.py files                        # a folder known by its contents
    python tools/performance.py plugins --rounds 5           # what processes of plugins cost
    python tools/performance.py sides --data-dir DIR         # docs/features.md: input sides
    python tools/performance.py parts --data-dir DIR         # nlbench embed with 1 and 2 workers
    python tools/performance.py embedding --help
    python tools/performance.py training --help

Baseline and ours run in turns in one process; the figures are medians and their ratio.
"""

from __future__ import annotations

import argparse
import sys

SELECTORS = ["clipcleaner", "clip-knn", "imagenet-baseline"]


def main() -> None:
    """Run a section."""
    if sys.argv[1:2] == ["embedding"]:
        from timings import embedding

        embedding.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["training"]:
        from timings import training

        training.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    sections = parser.add_subparsers(dest="section", required=True)
    for name in ("noise", "selection", "steps", "curves"):
        section = sections.add_parser(name)
        section.add_argument(
            "--rounds", type=int, default=1, help="of the baseline (default 1; 0: ours alone)"
        )
        section.add_argument("--device", default="cpu", help="of ours: cpu or cuda")
        section.add_argument("--n", type=int, default=50_000, help="samples")
        section.add_argument("--classes", type=int, nargs="+", default=[10, 100])
        section.add_argument("--selectors", nargs="+", default=SELECTORS, choices=SELECTORS)
        default_sizes = [10_000, 30_000, 100_000, 300_000, 1_000_000]
        section.add_argument("--sizes", type=int, nargs="+", default=default_sizes)
    for name in ("embedding", "training"):
        sections.add_parser(name, help="has options of its own: --help")
    sections.add_parser("instance-memory", help="one measurement, run by `noise`")
    one = sections.add_parser("memory", help="one measurement, run by `selection` and `curves`")
    for argument, kind in (("name", str), ("n", int), ("classes", int), ("device", str)):
        one.add_argument(argument, type=kind)
    demo = sections.add_parser("sweep")
    demo.add_argument("--noise", nargs="+", default=[], help="KIND:RATE (default: the demo's)")
    demo.add_argument("--jobs", type=int, help="compare one run at a time with this many at once")
    demo.add_argument("--rounds", type=int, default=1, help="of that comparison, in turns")
    sides_section = sections.add_parser("sides", help="needs nlbench[photos] and CIFAR-10")
    sides_section.add_argument("--data-dir", required=True)
    sides_section.add_argument("--sides", type=int, nargs="+", default=[112, 160, 224])
    files_section = sections.add_parser("files")
    files_section.add_argument("--n", type=int, default=1_000_000, help="files")
    files_section.add_argument("--bytes", type=int, default=1024, help="bytes of each")
    plugins_section = sections.add_parser("plugins")
    plugins_section.add_argument("--rounds", type=int, default=5)
    parts_section = sections.add_parser("parts")
    parts_section.add_argument("--dataset", default="cifar10")
    parts_section.add_argument("--encoder", default="bundled-glyphs")
    parts_section.add_argument("--data-dir")
    parts_section.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parts_section.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    from timings import files, noise, parts, plugins, selection, sides, sweep

    {
        "noise": lambda: noise.run(arguments),
        "selection": lambda: selection.run(arguments),
        "steps": lambda: selection.steps(arguments),
        "curves": lambda: selection.curves(arguments),
        "sweep": lambda: sweep.run(arguments),
        "files": lambda: files.run(arguments),
        "plugins": lambda: plugins.run(arguments),
        "sides": lambda: sides.run(arguments),
        "parts": lambda: parts.run(arguments),
        "instance-memory": noise.instance_memory,
        "memory": lambda: selection.memory(
            arguments.name, arguments.n, arguments.classes, arguments.device
        ),
    }[arguments.section]()


if __name__ == "__main__":
    main()
