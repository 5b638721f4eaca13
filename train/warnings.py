"""What makes the numbers of an evaluation less than they seem, in words."""

from train.evaluation import Ranking
from train.held_out import HeldOut
from train.statistics import MIN_CHANGED_GROUPS

_FEW_LABELS_OF_PEOPLE = 0.5


def warnings(test: HeldOut, labelled: Ranking) -> tuple[str, ...]:
    """Return the warnings about a test set and its headline ranking."""
    found = []
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
