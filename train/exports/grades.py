"""What a label is worth where a number is wanted."""

from store.policies import Policy


def grades(policy: Policy) -> dict[str, int]:
    """Return the grade of each label that has a part in training, 0 for the worst.

    On an ordered scale it is the place on the scale, counted from the end that is not positive. Else a positive label
    is worth 1 and a negative one 0.
    """
    if policy.scale != "ordered":
        return {label.name: int(label.role == "positive") for label in policy.labels if label.role != "excluded"}
    best_last = policy.labels if policy.labels[0].role != "positive" else policy.labels[::-1]
    return {label.name: grade for grade, label in enumerate(best_last) if label.role != "excluded"}


def lowest_positive(policy: Policy) -> int:
    """Return the grade from which a label is positive: what evaluators call the relevance level."""
    return min(grade for name, grade in grades(policy).items() if policy.role(name) == "positive")


def label_scores(policy: Policy) -> dict[str, float]:
    """Return the grade of each label as a share of the best one: from 0 to 1."""
    worth = grades(policy)
    return {name: grade / max(worth.values()) for name, grade in worth.items()}
