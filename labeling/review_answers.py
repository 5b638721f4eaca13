"""Answers as Argilla gives them, turned into reviews."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from labeling.review_dataset import Dataset, finished, is_ours, stream_of, was_edited
from labeling.review_layout import LABEL, NOTE
from store.policies import Policy
from store.reviews import Review

Json = dict[str, Any]


def answers_in(
    policy: Policy, dataset: Dataset, names: Mapping[str, str], records: Sequence[Json]
) -> tuple[list[Review], list[str]]:
    """Return the submitted and discarded answers in records, and a line for each thing that cannot be taken.

    Args:
        policy: whose question was asked.
        dataset: that the records are from.
        names: user id -> user name.
        records: with suggestions and responses.
    """
    labels = {answer.name for answer in policy.answers}
    reviews: list[Review] = []
    problems: list[str] = []
    for found in records:
        answered = finished(found)
        if not is_ours(found):
            pair = found["external_id"]
            if answered:
                problems.append(
                    f"record {found['id']} ({pair}) was not pushed from here; answers not taken: {len(answered)}"
                )
            continue
        if was_edited(found):
            problems.append(f"record {found['id']} was edited in Argilla; answers not taken: {len(answered)}")
            continue
        taken = [_review(policy, dataset, names, found, response) for response in answered]
        reviews += [review for review in taken if review.label is None or review.label in labels]
        problems += [
            f"record {found['id']}: {review.reviewer} answered {review.label!r}, which is no label"
            for review in taken
            if review.label is not None and review.label not in labels
        ]
    return reviews, problems


def _review(policy: Policy, dataset: Dataset, names: Mapping[str, str], found: Json, response: Json) -> Review:
    values = response["values"] or {}
    status: Literal["submitted", "discarded"] = response["status"]
    moment = datetime.fromisoformat(response["updated_at"])
    shown = [s["value"] for s in found["suggestions"] if str(s["question_id"]) == dataset.label_question_id]
    return Review(
        pair_id=found["external_id"],
        labelling_fingerprint=policy.labelling_fingerprint,
        reviewer=names.get(str(response["user_id"]), f"user {response['user_id']}"),
        status=status,
        label=values[LABEL]["value"] if status == "submitted" else None,
        stream=stream_of(found),
        reviewed_at=moment if moment.tzinfo else moment.replace(tzinfo=UTC),  # Argilla's times are UTC and do not say
        origin=f"{dataset.origin}{found['id']}",
        note=(values.get(NOTE, {}).get("value") or "").strip() or None,
        suggested=shown[0] if shown else None,
    )
