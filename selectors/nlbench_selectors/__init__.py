"""The selectors that come with nlbench: one file each, named as the selector is.

Nothing is registered here. A file dropped into this folder is listed, checked and run. `VERSIONED`
names those whose `version` stands for their code, since ``tests/golden`` guards their numbers.
"""

VERSIONED = (
    "aum",
    "clip-knn",
    "clip-zero-shot",
    "clipcleaner",
    "co-teaching",
    "co-teaching-epoch",
    "co-teaching-plus",
    "confident-learning",
    "cores2",
    "dividemix",
    "early-cutting",
    "fine",
    "fm-srm",
    "imagenet-baseline",
    "jocor",
    "lemon",
    "neural-relation-graph",
    "none",
    "oracle",
    "random",
    "simifeat",
    "small-loss",
    "ssr-knn",
    "turn",
    "unicon",
    "wann",
    "wrong-event",
)
