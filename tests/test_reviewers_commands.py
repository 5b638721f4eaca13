"""`review agreement` and `review conflicts`, as somebody at the keyboard and as a machine sees them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labeling.review_queue import review_queue
from store.policies import Policy, add_policy, get_policy
from store.reviews import Review, add_reviews
from store.workspace import ReviewSettings, create_workspace, open_workspace
from tests.reviewing import POLICY, fill, judge, large_log

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace in which ann and bob answered 24 pairs of eight queries, and differ on every fourth."""
    workspace = create_workspace(tmp_path / "w")
    with workspace.open() as store:
        policy = fill(store, large_log(8, 3))
        queue = review_queue(store, policy, ReviewSettings(audit_share=0.5))
        judge(store, policy, {queued.pair.pair_id: "related" for queued in queue})
        reviews = []
        for place, queued in enumerate(queue):
            for who, label in (("ann", "related"), ("bob", "related" if place % 4 else "answers")):
                review = _review(policy, queued.pair.pair_id, who, label)
                note = "\x1b[31mred" if label == "answers" else None
                reviews.append(replace(review, stream=queued.stream, note=note))
        add_reviews(store, reviews)
    return workspace.root


def _review(policy: Policy, pair_id: str, reviewer: str, label: str) -> Review:
    return Review(
        pair_id=pair_id,
        labelling_fingerprint=policy.labelling_fingerprint,
        reviewer=reviewer,
        status="submitted",
        label=label,
        stream="targeted",
        reviewed_at=datetime.now(UTC),
        origin="test",
    )


def _run(folder: Path, *words: str, policy: str = "answers", status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "review", *words, "--policy", policy],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def test_agreement_prints_tables_and_the_texts_that_people_differ_about(folder: Path) -> None:
    done = _run(folder, "agreement")
    for text in (
        "Krippendorff's alpha",
        "0.75 (",
        "judge, people",
        "ann",
        "answers or related? 6 times, about 6 pairs",
    ):
        assert text in done.stdout, text
    assert done.stdout.count("  query:  What is item") == 3
    assert "bob: answers (␛[31mred)" in done.stdout
    assert "\x1b" not in done.stdout
    assert "Next: uncited review conflicts --policy answers" in done.stderr


def test_a_reviewers_name_from_a_file_cannot_command_the_terminal(folder: Path) -> None:
    with open_workspace(folder).open() as store:
        policy = get_policy(store, "answers")
        pair_id = review_queue(store, policy, ReviewSettings())[0].pair.pair_id
        add_reviews(store, [_review(policy, pair_id, "e\x1b[2Jve\u202e", "related")])
    for command in ("agreement", "status"):
        done = _run(folder, command)
        assert "e␛[2Jve\ufffd" in done.stdout
        assert "\x1b" not in done.stdout


def test_agreement_says_what_to_do_where_there_is_nothing_to_compare(folder: Path) -> None:
    with open_workspace(folder).open() as store:
        add_policy(store, replace(POLICY, name="fresh", question="Is it?"))
        fill(store, large_log(1, 2), replace(POLICY, name="alone", question="Is it, really?"))
        alone = get_policy(store, "alone")
        pair_id = review_queue(store, alone, ReviewSettings())[0].pair.pair_id
        only = _review(alone, pair_id, "ann", "related")
        add_reviews(store, [only])
    done = _run(folder, "agreement", policy="fresh")
    assert "Nobody has reviewed fresh yet" in done.stdout
    assert "Next: uncited review push --policy fresh" in done.stderr
    done = _run(folder, "agreement", policy="alone")
    assert "pairs with one answer" in done.stdout
    assert "overlap in the [review] table" in done.stderr


def test_agreement_as_json_has_values_intervals_and_reasons_and_never_nan(folder: Path) -> None:
    done = _run(folder, "agreement", "--json")
    assert not done.stderr
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    assert list(found["streams"]) == ["all", "audit", "targeted"]
    raw = found["streams"]["all"]["coefficients"]["raw agreement"]
    assert raw["low"] < raw["value"] == 0.75 < raw["high"]
    assert found["judge"]["agreement"]["reviewers"].keys() == {"people", "judge"}
    assert (found["disputes"], found["open_disputes"]) == (6, 6)


def test_conflicts_are_listed_with_who_said_what(folder: Path) -> None:
    done = _run(folder, "conflicts")
    assert "Waiting for an adjudicator: 6 conflicts" in done.stdout
    assert done.stdout.count("ann: related") == 6
    assert "uncited review terminal --conflicts --policy answers" in done.stderr
    assert "makes no label" not in done.stderr
    (folder / "uncited.toml").write_text('[review]\nresolution = "strict"\n', encoding="utf-8")
    assert "an adjudication makes no label" in _run(folder, "conflicts").stderr
    listed = json.loads(_run(folder, "conflicts", "--json").stdout)
    assert len(listed["conflicts"]) == 6
    assert listed["pushed"] is None


def test_pushing_conflicts_without_argilla_names_what_is_missing(folder: Path) -> None:
    assert "uncited argilla up" in _run(folder, "conflicts", "--push", status=4).stderr
