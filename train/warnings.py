"""What makes the numbers of an evaluation less than they seem, in words."""

from collections.abc import Mapping
from pathlib import Path

from train.evaluation import Ranking
from train.held_out import HeldOut
from train.runs import read_run
from train.statistics import MIN_CHANGED_GROUPS

_FEW_LABELS_OF_PEOPLE = 0.5


def warnings(test: HeldOut, labelled: Ranking, models: Mapping[str, str]) -> tuple[str, ...]:
    """Return the warnings about a test set, its headline ranking, and the models (folder or hub name, by system)."""
    found = [
        f"{name} was trained on another build ({', '.join(builds)}): test queries of this one may have been among its"
        " training data"
        for name, model in models.items()
        if (builds := _trained_on(model)) and test.build_id not in builds
    ]
    if test.judges_of_both:
        found.append(
            f"{' and '.join(test.judges_of_both)} labelled both the training set and the test set: a model that learns"
            " the judge's mistakes is rewarded for them here. Have people label the test set"
        )
    labels = sum(len(labels) for labels in test.qrels.values())
    if test.human_labels / labels < _FEW_LABELS_OF_PEOPLE:
        found.append(f"only {test.human_labels} of the {labels} test labels are people's")
    if labelled.groups < MIN_CHANGED_GROUPS:
        found.append(
            f"{labelled.queries} test queries in {labelled.groups} groups have a positive and a negative: too few for"
            f" any claim, which takes {MIN_CHANGED_GROUPS} groups that differ"
        )
    return tuple(found)


def _trained_on(model: str) -> list[str]:
    """Return the builds that a run was trained on; none for a model that is no run."""
    run = read_run(Path(model))
    if run is None:
        return []
    told = [run.get("build_id"), *(build.get("build_id") for build in run.get("builds", ()))]
    return list(dict.fromkeys(str(build_id) for build_id in told if build_id))
