"""How a board's view groups its runs: by selector, and by version where one selector has two."""

from __future__ import annotations

from typing import Any

from nlbench.tracking.reader import runs_in
from nlbench.tracking.view import VIEW_TAG, means_tag_value, view_tag_value

PLAIN, BY_VERSION = view_tag_value(), view_tag_value(by_version=True)


def refresh_view(client: Any, experiment: Any) -> None:
    """Bring the saved view of an experiment up to date where another version of nlbench wrote it.

    Args:
        client: An ``MlflowClient``.
        experiment: One of a board's two experiments: its runs, or their means.
    """
    number, there = str(experiment.experiment_id), experiment.tags.get(VIEW_TAG)
    if experiment.tags.get("nlbench.holds") == "means":
        if there != means_tag_value():
            _write_view(client, number, means_tag_value())
    elif there not in (PLAIN, BY_VERSION):
        _write_view(client, number, BY_VERSION if mixes_versions(client, number) else PLAIN)


def tell_versions_apart(client: Any, experiment_id: str, selector: str) -> None:
    """Have the view group by version, too, if runs of one selector are of different code.

    Their mean would be of neither.
    """
    if mixes_versions(client, experiment_id, selector):
        there = client.get_experiment(experiment_id).tags.get(VIEW_TAG)
        if there != BY_VERSION:
            _write_view(client, experiment_id, BY_VERSION)


def mixes_versions(client: Any, experiment_id: str, selector: str | None = None) -> bool:
    """Return whether one selector, or any, has complete runs of more than one version.

    Args:
        client: An ``MlflowClient``.
        experiment_id: A board's experiment.
        selector: The param `selector` of the runs to look at; None looks at all.
    """
    condition = "tags.`nlbench.state` = 'complete'"
    if selector is not None and "'" not in selector:  # MLflow's filters cannot escape a quote
        condition += f" AND params.`selector` = '{selector}'"
    runs = [run.data.params for run in runs_in(client, [experiment_id], condition)]
    pairs = {(params.get("selector"), params.get("versions")) for params in runs}
    return len(pairs) > len({name for name, _ in pairs})


def _write_view(client: Any, experiment_id: str, value: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.set_experiment_tag(experiment_id, VIEW_TAG, value)
    except MlflowException:
        return  # a view is a courtesy; a user who may only add runs still can
