import time
from dataclasses import replace
from pathlib import Path

from store.builds import Build
from store.database import Store
from store.policies import Policy, add_policy, get_policy
from store.workspace import create_workspace
from tests.labelled_store import POLICY, distinct, fill, judge, log, pair, question, review
from tests.test_cli import from_json, run
from train.build_diff import BuildDiff, diff
from train.triplets import build


def changed(found: BuildDiff) -> dict[str, str]:
    return {one.change.pair_id: one.reason for one in found.pairs}


def first_build(store: Store) -> Build:
    policy = fill(store, 6)
    return build(store, policy, test_share=0.34).build


def test_a_new_review_explains_the_pair_and_its_triplets(store: Store) -> None:
    before = first_build(store)
    query, chunk = question(0), distinct("bad0of", 0)
    review(store, query, {chunk: "yes"}, minute=5)
    after = build(store, stored_policy(store), test_share=0.34).build
    found = diff(store, before, after)
    assert changed(found) == {pair(query, chunk): "new reviews"}
    (one,) = found.pairs
    assert (one.change.then.role, one.change.now.role) == ("negative", "positive")
    assert found.reasons["new reviews"][0] == 1
    assert {triplet.reason for triplet in found.triplets} <= {"new reviews", *found.reasons}
    assert found.reasons["new reviews"][2] >= 1, "the triplet with it as the negative is gone"
    assert diff(store, after, before).reasons["new reviews"][1] >= 1, "and the other way round it comes"


def stored_policy(store: Store) -> Policy:
    return get_policy(store, POLICY.name)


def test_a_build_does_not_differ_from_itself(store: Store) -> None:
    before = first_build(store)
    found = diff(store, before, before)
    assert (found.pairs, found.triplets, found.settings) == ((), (), {})


def test_other_roles_an_other_question_and_settings_are_told_apart(store: Store) -> None:
    fill(store, 6)
    review(store, question(1), {distinct("bad0of", 1): "spam"}, minute=5)
    before = build(store, stored_policy(store), test_share=0.34).build
    roles = tuple(replace(label, role="negative") if label.name == "spam" else label for label in POLICY.labels)
    stricter, _ = add_policy(store, replace(POLICY, labels=roles))
    after = build(store, stricter, test_share=0.34).build
    assert changed(diff(store, before, after)) == {
        pair(question(1), distinct("bad0of", 1)): "the policy gives labels other roles"
    }
    fewer = build(store, stricter, test_share=0.34, negatives_per_positive=1).build
    found = diff(store, after, fewer)
    assert found.settings == {"negatives_per_positive": (16, 1)}
    assert list(found.reasons) == ["another number of negatives for each positive"]
    elsewhere = build(store, stricter, test_share=0.34, seed=3).build
    assert "split otherwise" in diff(store, after, elsewhere).reasons


def test_a_judges_labels_and_new_data_are_told(store: Store) -> None:
    fill(store, 6)
    policy = stored_policy(store)
    before = build(store, policy, test_share=0.34).build
    log(store, question(0), [distinct("later", 0)])
    judge(store, question(0), {distinct("later", 0): "no"})
    after = build(store, policy, test_share=0.34, judge_labels=True, uncertified=True).build
    reason = "other certificates, or another say about a judge's labels"
    assert changed(diff(store, before, after)) == {pair(question(0), distinct("later", 0)): reason}


def test_the_command_takes_beginnings_of_ids_and_shows_why(tmp_path: Path) -> None:
    with create_workspace(tmp_path / "w").open() as store:
        before = first_build(store)
        time.sleep(0.01)
        review(store, question(0), {distinct("bad0of", 0): "yes"}, minute=5)
        after = build(store, stored_policy(store), test_share=0.34).build
    short = [name.removeprefix("build_")[:8] for name in (before.build_id, after.build_id)]
    shown = run("diff", *short, cwd=tmp_path / "w").stdout
    assert "new reviews" in shown
    assert "no (negative)" in shown
    assert from_json("diff", *short, cwd=tmp_path / "w")["reasons"]["new reviews"][0] == 1
    wrong = run("diff", "zzz", short[0], cwd=tmp_path / "w", status=4).stderr
    assert "no build with an id that begins 'build_zzz'; the newest: build_" in wrong


def test_builds_are_listed_with_what_they_hold_the_newest_first(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path)
    assert "uncited build --policy NAME" in run("builds", cwd=tmp_path).stderr
    with workspace.open() as store:
        before = first_build(store)
        review(store, question(0), {distinct("bad0of", 0): "yes"}, minute=5)
        after = build(store, stored_policy(store), test_share=0.34).build
    listed = from_json("builds", cwd=tmp_path)
    assert [row["build_id"] for row in listed] == [after.build_id, before.build_id]
    assert {row["policy"] for row in listed} == {POLICY.name}
    told = run("builds", cwd=tmp_path)
    assert f"{POLICY.name}, version 1" in told.stdout
    assert f"uncited diff {before.build_id[:14]} {after.build_id[:14]}" in told.stderr
    run("diff", before.build_id[:14], after.build_id[:14], cwd=tmp_path)
