"""What makes the numbers of an evaluation less than they seem, in words."""

from collections.abc import Mapping
from pathlib import Path

from train.evaluation import Ranking
from train.held_out import HeldOut
from train.recipe import JUDGE
from train.runs import builds_of, judges_of, read_run
from train.statistics import MIN_CHANGED_GROUPS

_FEW_LABELS_OF_PEOPLE = 0.5
_REWARDED = "a model that learns the judge's mistakes is rewarded for them here. Have people label the test set"
_AS = {"base_model": "its base model", "guide": "a guide", "teacher": "a teacher"}


def warnings(test: HeldOut, labelled: Ranking, models: Mapping[str, str]) -> tuple[str, ...]:
    """Return the warnings about a test set, its headline ranking, and the models (folder or hub name, by system)."""
    found = [
        f"{name} {how}: test queries of this one may have been among its training data"
        for name, model in models.items()
        for how in _elsewhere(model, test.build_id)
    ]
    if test.judges_of_both:
        found.append(
            f"{' and '.join(test.judges_of_both)} labelled both the training set and the test set: {_REWARDED}"
        )
    found += [f"{name} {how}: {_REWARDED}" for name, model in models.items() for how in _taught_by_judge(model, test)]
    if test.shown_to_judges:
        found.append(
            f"{test.shown_to_judges} test queries stand among the examples that a judge of this build was shown: it"
            " labelled with some knowledge of the test. Judge anew with --few-shot, which now leaves them out, and"
            " build again"
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


def _elsewhere(model: str, build_id: str) -> list[str]:
    """Say how a model may have been trained on what a build tests with; nothing of one that is no run.

    What is trained on several builds together leaves out what any of them tests with; so one of them is enough.
    """
    run = read_run(Path(model))
    if run is None:
        return []
    builds = builds_of(run)
    found = [f"was trained on another build ({', '.join(builds)})"] if builds and build_id not in builds else []
    return found + [
        f"was made from {source['model']} ({_AS[source['as']]}), which was trained on another build"
        f" ({', '.join(source['builds'])})"
        for source in run.get("made_from", ())
        if build_id not in source["builds"]
    ]


def _taught_by_judge(model: str, test: HeldOut) -> list[str]:
    """Say how a model learned from a judge that labelled a test set; nothing of one that is no run.

    What the build itself was trained on is left to `judges_of_both`, which knows whose labels stand in which split.
    """
    run = read_run(Path(model))
    if run is None or not test.judges:
        return []
    behind = [("was trained", judges_of(run))] + [
        (f"was made from {source['model']} ({_AS[source['as']]}), which was trained", source.get("judges", {}))
        for source in run.get("made_from", ())
    ]
    found = []
    for how, judges in behind:
        of_others = {judge for build_id, names in judges.items() if build_id != test.build_id for judge in names}
        if same := sorted(of_others & {*test.judges}):
            found.append(f"{how} on labels of {' and '.join(same)}, which labelled the test set too")
    if run["settings"].get("teacher") == JUDGE:
        found.append(
            f"learned from what a judge said (--teacher judge), and {' and '.join(test.judges)} labelled the test set"
        )
    return found
