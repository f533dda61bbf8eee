"""The saved view "Leaderboard" in MLflow's web interface, and links to it.

The format of a saved view is not documented by MLflow: it is what the interface itself stores
in an experiment tag. So the view is a courtesy, and nothing fails where it cannot be written.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

VIEW_KEY = "nlbench-leaderboard"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
_CREATED_MS = 1_700_000_000_000  # fixed, so that an unchanged view is an unchanged tag

# In reading order, with the width in pixels that shows the whole header.
_COLUMNS = {
    "metrics.`test/acc_last`": 125,
    "metrics.`sel/f1`": 100,
    "metrics.`sel/precision`": 115,
    "metrics.`sel/recall`": 100,
    "metrics.`sel/auroc`": 100,
    "metrics.`sel/kept`": 90,
    "metrics.`sel/noise_after`": 130,
    "metrics.`test/acc_nval`": 115,
    "metrics.`time/select_s`": 120,
    "metrics.`time/total_s`": 110,
    "params.`seed`": 70,
}
_MEANS_COLUMNS = {
    "params.`dataset`": 90,
    "params.`noise`": 150,
    "params.`selector`": 160,
    "params.`versions`": 160,
    "metrics.`acc/mean`": 100,
    "metrics.`acc/sd`": 80,
    "metrics.`acc/ci95_low`": 115,
    "metrics.`acc/ci95_high`": 120,
    "metrics.`f1/mean`": 90,
    "metrics.`f1/sd`": 80,
    "metrics.`kept/mean`": 100,
    "metrics.`seconds/mean`": 120,
    "metrics.`seeds`": 70,
}
_PINNED = {"attributes.`Run Name`": 240}
_DATASET = {"attributes.`Dataset`": 270}


def view_state() -> dict[str, Any]:
    """Return the state of the view: finished runs by selector and version, best first."""
    return {
        "searchFilter": "attributes.status = 'FINISHED' AND tags.`nlbench.state` = 'complete'",
        "orderByKey": "metrics.`test/acc_last`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*_DATASET, *_COLUMNS],
        "columnOrder": [*_PINNED, *_DATASET, *_COLUMNS],
        "columnWidths": {**_PINNED, **_DATASET, **_COLUMNS},
        "runsHiddenMode": "SHOW_ALL",
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": {
            "aggregateFunction": "average",
            # Runs of different code are different things, though they bear one name.
            "groupByKeys": [
                {"mode": "param", "groupByData": key} for key in ("selector", "versions")
            ],
        },
    }


def means_state() -> dict[str, Any]:
    """Return the state of the view on the means over seeds: a row each, best accuracy first."""
    state = {
        **view_state(),
        "searchFilter": "",
        "orderByKey": "metrics.`acc/mean`",
        "selectedColumns": list(_MEANS_COLUMNS),
        "columnOrder": [*_PINNED, *_MEANS_COLUMNS],
        "columnWidths": {**_PINNED, **_MEANS_COLUMNS},
    }
    del state["groupBy"]
    return state


def view_tag_value() -> str:
    """Return the value of the experiment tag that holds a board's view."""
    return _packed("Leaderboard", view_state())


def means_tag_value() -> str:
    """Return the value of the experiment tag that holds the view on the means."""
    return _packed("Means over seeds", means_state())


def _packed(name: str, state: dict[str, Any]) -> str:
    text = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps(
        {
            "name": name,
            "createdAt": _CREATED_MS,
            "updatedAt": _CREATED_MS,
            "state": f"deflate;{text}",
        }
    )


def runs_link(base_url: str, experiment_id: str, *, charts: bool = False) -> str:
    """Return the link to an experiment's saved view, as a table or as charts."""
    # Without workflowType a new browser lands on an empty page about language models.
    link = (
        f"{base_url.rstrip('/')}/#/experiments/{experiment_id}/runs"
        f"?viewStateShareKey={VIEW_KEY}&workflowType=machine_learning"
    )
    return f"{link}&compareRunsMode=CHART" if charts else link


def run_link(base_url: str, experiment_id: str, run_id: str) -> str:
    """Return the link to one run."""
    return (
        f"{base_url.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
        "?workflowType=machine_learning"
    )
