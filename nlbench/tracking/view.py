"""The saved views in MLflow's web interface, for boards and for means, and links to them.

The format of a saved view is not documented by MLflow: it is what the interface itself stores
in an experiment tag. So the view is a courtesy, and nothing fails where it cannot be written.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

VIEW_KEY = "nlbench-leaderboard"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
# Without it a new browser shows its pages about language models, in which the runs are missing.
_CLASSICAL = "workflowType=machine_learning"
_CREATED_MS = 1_700_000_000_000  # fixed, so that an unchanged view is an unchanged tag

# In reading order, with the width in pixels that shows the whole header.
_COLUMNS = {
    "metrics.`test/acc_last`": 215,
    "metrics.`sel/f1`": 100,
    "metrics.`sel/precision`": 115,
    "metrics.`sel/recall`": 100,
    "metrics.`sel/auroc`": 100,
    "metrics.`sel/kept`": 90,
    "metrics.`sel/noise_after`": 130,
    "metrics.`test/acc_nval`": 115,
    "metrics.`time/select_s`": 120,
    "metrics.`time/total_s`": 110,
    "attributes.`Dataset`": 270,
}
_MEANS_COLUMNS = {
    "metrics.`acc/mean`": 110,
    "metrics.`acc/sd`": 85,
    "metrics.`acc/ci95_low`": 115,
    "metrics.`acc/ci95_high`": 120,
    "metrics.`seeds`": 75,
    "metrics.`f1/mean`": 95,
    "metrics.`f1/sd`": 85,
    "metrics.`kept/mean`": 105,
    "metrics.`seconds/mean`": 125,
    "params.`versions`": 300,
}
# In the order in which they are shown; MLflow's own is the alphabet's, `sel` before `test`.
_CHARTS = (
    "test/acc_last",
    "test/acc_nval",
    "test/acc_best",
    "sel/f1",
    "sel/precision",
    "sel/recall",
    "sel/auroc",
    "sel/auprc",
    "sel/kept",
    "sel/noise_after",
    "train/test_acc",
    "train/loss",
    "time/total_s",
)
_MEANS_CHARTS = (
    "acc/mean",
    "acc/sd",
    "acc/ci95_low",
    "acc/ci95_high",
    "f1/mean",
    "precision/mean",
    "recall/mean",
    "kept/mean",
    "seconds/mean",
)
_PINNED = {"attributes.`Run Name`": 240}


def view_state(*, by_version: bool = False) -> dict[str, Any]:
    """Return the state of a board's view: finished runs by selector, best first.

    Args:
        by_version: Whether runs of different code are groups of their own. Needed only where a
            selector has both: the names of groups by two params do not fit MLflow's list.
    """
    keys = ("selector", "versions") if by_version else ("selector",)
    return {
        "searchFilter": "attributes.status = 'FINISHED' AND tags.`nlbench.state` = 'complete'",
        "orderByKey": "metrics.`test/acc_last`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(_COLUMNS),
        "columnOrder": [*_PINNED, *_COLUMNS],
        "columnWidths": {**_PINNED, **_COLUMNS},
        "runsHiddenMode": "SHOW_ALL",
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        **_charts(_CHARTS),
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "param", "groupByData": key} for key in keys],
        },
    }


def means_state() -> dict[str, Any]:
    """Return the state of the view on a board's means over seeds: a row each, best first."""
    state = {
        **view_state(),
        "searchFilter": "",
        "orderByKey": "metrics.`acc/mean`",
        "selectedColumns": list(_MEANS_COLUMNS),
        "columnOrder": [*_PINNED, *_MEANS_COLUMNS],
        "columnWidths": {**_PINNED, **_MEANS_COLUMNS},
        **_charts(_MEANS_CHARTS),
    }
    del state["groupBy"]
    return state


def _charts(metrics: Sequence[str]) -> dict[str, Any]:
    """Return charts in this order, in sections by the part before the slash.

    MLflow appends those of other metrics, hides those without values, and turns the bars of a
    metric with several steps into lines.
    """
    sections = dict.fromkeys(metric.partition("/")[0] for metric in metrics)
    return {
        "compareRunCharts": [
            {
                "uuid": metric,
                "type": "BAR",
                "runsCountToCompare": 10,
                "metricSectionId": metric.partition("/")[0],
                "deleted": False,
                "isGenerated": True,
                "displayName": metric.partition("/")[2],
                "metricKey": metric,
            }
            for metric in metrics
        ],
        "compareRunSections": [
            {
                "uuid": name,
                "name": name,
                "display": True,
                "isReordered": True,
                "deleted": False,
                "isGenerated": True,
            }
            for name in sections
        ],
        "isAccordionReordered": True,
    }


def view_tag_value(*, by_version: bool = False) -> str:
    """Return the value of the experiment tag that holds a board's view."""
    return _packed("Leaderboard", view_state(by_version=by_version))


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
    return f"{base_url.rstrip('/')}/{_runs_page(experiment_id, charts)}"


def run_link(base_url: str, experiment_id: str, run_id: str) -> str:
    """Return the link to one run."""
    return f"{base_url.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{_CLASSICAL}"


def links_in_notes(experiment_id: str) -> str:
    """Return links to an experiment's saved view in Markdown, for notes that MLflow shows.

    They are the way back from the pages on which MLflow's own links drop the query.
    """
    pages = {"table": False, "charts": True}
    return ", ".join(f"[{k}]({_runs_page(experiment_id, v)})" for k, v in pages.items())


def _runs_page(experiment_id: str, charts: bool) -> str:
    page = f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW_KEY}&{_CLASSICAL}"
    return f"{page}&compareRunsMode=CHART" if charts else page
