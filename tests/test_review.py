"""Reviews through a real Argilla: what people are shown, what comes home, what interruptions leave behind."""

import html
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from labeling.argilla_client import RefusedError, call, connect, connect_as, workspace_id
from labeling.local_argilla import Server
from labeling.review import review_status, submit_reviews
from labeling.review_dataset import ensure_dataset, find_dataset, write_records
from labeling.review_layout import CONTENT, ORDER, QUEUE, SHOWN, dataset_name, record, shown_hash
from labeling.review_pull import pull_reviews
from labeling.review_push import push_reviews
from labeling.review_queue import review_queue
from store.database import Store
from store.errors import MissingError, ProviderError, UsageError
from store.labels import labelled_candidates
from store.policies import Policy
from store.progress import silent
from store.reviews import pairs_to_review
from tests.local_argilla_fixtures import TEXT_AND_LABEL, make_dataset
from tests.reviewing import LOG, POLICY, TARGETED_ONLY, connected, dataset_of, fill, judge, on_server, pair
from tests.test_other_argilla import Answer, serving

if TYPE_CHECKING:
    from argilla import Argilla

USER = {
    "id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "first_name": "a",
    "username": "a",
    "role": "owner",
}
PAIRS = sum(len(chunks) for _, chunks in LOG.values())


@pytest.fixture
def policy(store: Store) -> Policy:
    """A policy with the small log's candidates, and with a dataset of its own."""
    return fill(store, policy=replace(POLICY, name=f"answers-{uuid4().hex[:8]}"))


def suggestions(client: "Argilla", policy: Policy) -> dict[str, list[tuple[str, str]]]:
    path = f"/api/v1/datasets/{dataset_of(client, policy).dataset_id}/records"
    items = call(client, "GET", path, params={"include": "suggestions", "limit": 1000})["items"]
    return {r["external_id"]: [(s["value"], s["agent"]) for s in r["suggestions"]] for r in items}


def respond(client: "Argilla", found: dict[str, Any], status: str, label: str | None, note: str | None = None) -> None:
    values = {name: {"value": value} for name, value in (("label", label), ("note", note)) if value is not None}
    body = {"status": status, "values": values or None, "record_id": found["id"]}
    answered = call(client, "POST", "/api/v1/me/responses/bulk", json={"items": [body]})["items"]
    assert not answered[0].get("error"), answered


def reviews(store: Store) -> list[dict[str, object]]:
    return store.rows("SELECT pair_id, reviewer, status, label, note, stream, origin FROM reviews ORDER BY reviewed_at")


class TestPush:
    def test_every_candidate_becomes_a_record_with_its_texts_and_hidden_metadata(
        self, store: Store, policy: Policy, client: "Argilla"
    ) -> None:
        judge(store, policy, {pair(1, 2): "related"}, model="vendor/judge 1 (new)")
        result = push_reviews(store, policy, client, TARGETED_ONLY)
        assert (result.new, result.updated, result.unchanged, result.kept, result.refused) == (PAIRS, 0, 0, 0, ())
        records = on_server(client, policy)
        assert len(records) == PAIRS
        query, (answer, _) = next(iter(LOG.items()))
        shown = records[pair(1, 2)]
        assert set(shown["fields"]) == {"query", "pair", "answer", "reason"}
        assert query in shown["fields"]["query"]
        assert answer in shown["fields"]["answer"]
        assert "related: It looks like related." in shown["fields"]["reason"]
        hidden = {k: v for k, v in shown["metadata"].items() if k not in (ORDER, QUEUE, CONTENT, SHOWN)}
        assert hidden == {
            "kind": "text",
            "log": "cookbook",
            "stream": "targeted",
            "proposed": "negative",
            "source": ["uncited"],
            "rank": 2,
            "score": 8.0,
        }
        assert records[pair(1, 1)]["metadata"]["grade"] == 3.0
        assert "Cited" in shown["fields"]["pair"]
        assert "Cited" not in records[pair(1, 1)]["fields"]["pair"], "the cited chunk is not its own reference"
        assert suggestions(client, policy)[pair(1, 2)] == [("related", "vendor/judge 1 _new_")]
        assert suggestions(client, policy)[pair(1, 3)] == []

    def test_the_question_offers_the_policys_labels_in_order_and_unsure(
        self, store: Store, policy: Policy, client: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        path = f"/api/v1/datasets/{dataset_of(client, policy).dataset_id}"
        asked = {q["name"]: q for q in call(client, "GET", f"{path}/questions")["items"]}
        assert asked["label"]["title"] == policy.question
        options = [(o["value"], o["text"]) for o in asked["label"]["settings"]["options"]]
        assert options[0] == ("answers", "answers: the section says how to do it")
        assert [value for value, _ in options] == ["answers", "related", "unrelated", "unsure"]
        assert (asked["label"]["required"], asked["note"]["required"]) == (True, False)
        shown = call(client, "GET", path)
        assert all(f"**{label.name}**" in shown["guidelines"] for label in policy.answers)
        assert all(f["settings"]["use_markdown"] for f in call(client, "GET", f"{path}/fields")["items"])

    def test_pushing_twice_sends_nothing_and_changes_nothing(
        self, store: Store, policy: Policy, client: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        before = on_server(client, policy)
        result = push_reviews(store, policy, client, TARGETED_ONLY)
        assert (result.new, result.updated, result.unchanged) == (0, 0, PAIRS)
        assert on_server(client, policy) == before

    def test_only_what_a_new_judgment_changed_is_sent_again(
        self, store: Store, policy: Policy, client: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        before = on_server(client, policy)
        judge(store, policy, {pair(2, 3): "unsure"})
        result = push_reviews(store, policy, client, TARGETED_ONLY)
        assert (result.new, result.updated, result.unchanged) == (0, 1, PAIRS - 1)
        after = on_server(client, policy)
        assert {k for k in after if after[k]["metadata"][CONTENT] != before[k]["metadata"][CONTENT]} == {pair(2, 3)}
        sent = {k for k in after if after[k]["updated_at"] != before[k]["updated_at"]} - {pair(2, 3)}
        assert sent == {k for k in after if after[k]["metadata"][ORDER] != before[k]["metadata"][ORDER]} - {pair(2, 3)}
        assert len(sent) == result.moved
        assert after[pair(2, 3)]["id"] == before[pair(2, 3)]["id"]

    def test_what_a_person_answered_is_left_as_they_saw_it(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        submit_reviews(ana, policy, {pair(2, 3): "related"})
        judge(store, policy, {pair(2, 3): "answers"})
        result = push_reviews(store, policy, client, TARGETED_ONLY)
        assert (result.updated, result.kept) == (0, 1)
        assert suggestions(client, policy)[pair(2, 3)] == []
        assert "reason" not in on_server(client, policy)[pair(2, 3)]["fields"]

    def test_pairs_reviewed_at_home_are_not_asked_on_a_new_server(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        submit_reviews(ana, policy, {pair(2, 3): "related"})
        pull_reviews(store, policy, client, TARGETED_ONLY)
        call(client, "DELETE", f"/api/v1/datasets/{dataset_of(client, policy).dataset_id}")
        result = push_reviews(store, policy, client, TARGETED_ONLY)
        assert (result.new, result.kept) == (PAIRS - 1, 1)

    def test_an_annotator_sees_neither_rank_nor_source_nor_stream(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        path = f"/api/v1/me/datasets/{dataset_of(client, policy).dataset_id}"
        seen = call(ana, "POST", f"{path}/records/search", json={}, params={"limit": 1000})["items"]
        assert len(seen) == PAIRS
        assert {name for item in seen for name in item["record"]["metadata"]} == {"kind", "log", ORDER, QUEUE}
        properties = call(ana, "GET", f"{path}/metadata-properties")["items"]
        assert {p["name"] for p in properties} == {"kind", "log", ORDER, QUEUE}

    def test_an_annotators_key_cannot_push(self, store: Store, policy: Policy, ana: "Argilla") -> None:
        with pytest.raises(RefusedError, match="does not allow this user to do that"):
            push_reviews(store, policy, ana, TARGETED_ONLY)

    def test_sorted_by_queue_order_comes_first_what_the_judge_disputes(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        expected = {
            p.pair_id: "answers" if p.proposed == "positive" else "related" for p in pairs_to_review(store, policy)
        }
        judge(store, policy, expected | {pair(2, 2): "answers"})
        push_reviews(store, policy, client, TARGETED_ONLY)
        body = {"sort": [{"scope": {"entity": "metadata", "metadata_property": ORDER}, "order": "asc"}]}
        path = f"/api/v1/me/datasets/{dataset_of(client, policy).dataset_id}/records/search"
        seen = [i["record"]["external_id"] for i in call(ana, "POST", path, json=body, params={"limit": 100})["items"]]
        assert seen == [q.pair.pair_id for q in review_queue(store, policy, TARGETED_ONLY)]
        assert seen.index(pair(2, 2)) < seen.index(pair(2, 1)), "disputed, though it ranks below"

    def test_text_that_a_database_cannot_hold_or_a_browser_might_run_arrives_as_text(
        self, store: Store, client: "Argilla"
    ) -> None:
        chunks = [
            "<script>x()</script>",
            "nul \x00 here",
            "{{ 7*7 }} ${x} \u202e مرحبا 你好 🍞",
            "  \n\t ",
            "a" * 300_000,
        ]
        policy = fill(store, {"Hostile?": ("", chunks)}, replace(POLICY, name=f"hostile-{uuid4().hex[:8]}"))
        result = push_reviews(store, policy, client, TARGETED_ONLY)
        assert (result.new, result.refused) == (len(chunks), ())
        there = [html.unescape(r["fields"]["pair"]) for r in on_server(client, policy).values()]
        for text in (c.replace("\x00", "\N{REPLACEMENT CHARACTER}").strip() for c in chunks):
            assert any(text in shown for shown in there)
        assert push_reviews(store, policy, client, TARGETED_ONLY).unchanged == len(chunks)

    def test_bad_records_are_named_and_the_rest_arrives(self, store: Store, policy: Policy, client: "Argilla") -> None:
        dataset = ensure_dataset(client, policy)
        made = [
            record(p, order=n, stream="targeted", label_question_id=dataset.label_question_id)
            for n, p in enumerate(pairs_to_review(store, policy))
        ]
        made[2]["fields"].pop("pair")  # Argilla says which of the batch this is
        made[5]["metadata"]["rank"] = "first"
        made[7]["suggestions"] = "none"  # and of this only that something is wrong
        refused = write_records(client, dataset, made, silent)
        assert {pair_id for pair_id, _ in refused} == {made[i]["external_id"] for i in (2, 5, 7)}
        assert "pair" in dict(refused)[made[2]["external_id"]]
        assert set(on_server(client, policy)) == {m["external_id"] for n, m in enumerate(made) if n not in (2, 5, 7)}

    def test_a_server_that_refuses_everything_is_an_error(
        self, store: Store, policy: Policy, client: "Argilla"
    ) -> None:
        dataset = ensure_dataset(client, policy)
        with pytest.raises(ProviderError, match="refuses every record"):
            write_records(client, dataset, [{"external_id": str(n), "fields": {}} for n in range(3)], silent)

    def test_a_dataset_that_was_left_half_made_is_completed(
        self, store: Store, policy: Policy, client: "Argilla"
    ) -> None:
        half = {"name": dataset_name(policy), "workspace_id": workspace_id(client)}
        made = call(client, "POST", "/api/v1/datasets", json=half)
        text = {"name": "query", "title": "q", "required": True, "settings": {"type": "text", "use_markdown": False}}
        call(client, "POST", f"/api/v1/datasets/{made['id']}/fields", json=text)
        assert find_dataset(client, policy) is None
        assert push_reviews(store, policy, client, TARGETED_ONLY).new == PAIRS
        named = call(client, "GET", "/api/v1/me/datasets", params={"name": dataset_name(policy)})["items"]
        assert [d["status"] for d in named if d["name"] == dataset_name(policy)] == ["ready"]

    def test_a_dataset_of_this_name_that_asks_something_else_is_refused(
        self, store: Store, policy: Policy, client: "Argilla", argilla_server: Server
    ) -> None:
        make_dataset(argilla_server, dataset_name(policy), TEXT_AND_LABEL)
        with pytest.raises(ProviderError, match="asks something else"):
            push_reviews(store, policy, client, TARGETED_ONLY)

    def test_no_candidates_says_what_to_run(self, store: Store, client: "Argilla") -> None:
        with pytest.raises(MissingError) as error:
            push_reviews(store, replace(POLICY, name="nothing-mined"), client, TARGETED_ONLY)
        assert error.value.hint == "uncited mine --policy nothing-mined"


class TestPull:
    def test_answers_come_home_with_reviewer_status_time_note_and_origin(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla", bob: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        records = on_server(client, policy)
        respond(ana, records[pair(1, 2)], "submitted", "answers", "drying works too")
        respond(bob, records[pair(1, 2)], "submitted", "unsure")
        respond(ana, records[pair(1, 3)], "discarded", None)
        respond(bob, records[pair(1, 4)], "draft", "related")
        result = pull_reviews(store, policy, client, TARGETED_ONLY)
        assert (result.submitted, result.discarded, result.drafts, result.new) == (2, 1, 1, 3)
        assert result.problems == ()
        origin = f"argilla:{client.api_url.removeprefix('http://')}/{dataset_name(policy)}/{records[pair(1, 2)]['id']}"
        assert reviews(store)[0] == {
            "pair_id": pair(1, 2),
            "reviewer": "ana",
            "status": "submitted",
            "label": "answers",
            "note": "drying works too",
            "stream": "targeted",
            "origin": origin,
        }
        assert [(r["reviewer"], r["status"], r["label"]) for r in reviews(store)[1:]] == [
            ("bob", "submitted", "unsure"),
            ("ana", "discarded", None),
        ]
        moments = [row["reviewed_at"] for row in store.rows("SELECT reviewed_at FROM reviews")]
        assert all(abs(datetime.now(UTC) - moment) < timedelta(minutes=5) for moment in moments)

    def test_pulling_twice_changes_nothing(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        submit_reviews(ana, policy, {pair(1, 2): "answers", pair(1, 3): "related"})
        assert pull_reviews(store, policy, client, TARGETED_ONLY).new == 2
        assert pull_reviews(store, policy, client, TARGETED_ONLY).new == 0
        assert len(reviews(store)) == 2

    def test_a_changed_answer_is_appended_and_becomes_the_label(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        submit_reviews(ana, policy, {pair(1, 2): "answers"})
        pull_reviews(store, policy, client, TARGETED_ONLY)
        submit_reviews(ana, policy, {pair(1, 2): "unrelated"})
        assert pull_reviews(store, policy, client, TARGETED_ONLY).new == 1
        assert [r["label"] for r in reviews(store)] == ["answers", "unrelated"]
        labelled = labelled_candidates(store, policy).to_pylist()
        assert {row["pair_id"]: row["label"] for row in labelled}[pair(1, 2)] == "unrelated"

    def test_who_is_renamed_or_leaves_the_team_stays_one_person(
        self, store: Store, policy: Policy, client: "Argilla", argilla_server: Server
    ) -> None:
        name = f"zoe-{uuid4().hex[:8]}"
        with connected(argilla_server, name) as zoe:
            push_reviews(store, policy, client, TARGETED_ONLY)
            submit_reviews(zoe, policy, {pair(1, 2): "related"})
            assert pull_reviews(store, policy, client, TARGETED_ONLY).new == 1
            user = call(zoe, "GET", "/api/v1/me")["id"]
            call(client, "PATCH", f"/api/v1/users/{user}", json={"username": f"{name}-smith"})
            assert pull_reviews(store, policy, client, TARGETED_ONLY).new == 0
            assert [row["reviewer"] for row in reviews(store)] == [name]
            submit_reviews(zoe, policy, {pair(1, 3): "related"})
            assert pull_reviews(store, policy, client, TARGETED_ONLY).new == 1

    def test_edited_foreign_and_deleted_records_are_reported_and_not_taken(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        submit_reviews(ana, policy, {pair(1, 2): "answers", pair(1, 3): "related", pair(2, 1): "answers"})
        dataset, records = dataset_of(client, policy), on_server(client, policy)
        edited = {**records[pair(1, 2)]["fields"], "pair": "Something else."}
        call(client, "PATCH", f"/api/v1/records/{records[pair(1, 2)]['id']}", json={"fields": edited})
        foreign = {"external_id": "mine", "fields": {"query": "q", "pair": "c"}}
        call(client, "PUT", f"/api/v1/datasets/{dataset.dataset_id}/records/bulk", json={"items": [foreign]})
        respond(ana, on_server(client, policy)["mine"], "submitted", "related")
        result = pull_reviews(store, policy, client, TARGETED_ONLY)
        assert result.new == 2
        assert len(result.problems) == 2
        assert any("was edited in Argilla" in p and records[pair(1, 2)]["id"] in p for p in result.problems)
        assert any("(mine) was not pushed from here" in p for p in result.problems)
        call(client, "DELETE", f"/api/v1/records/{records[pair(1, 3)]['id']}")
        assert any(
            "1 records were deleted in Argilla; the reviews of 1 of them stay" in p
            for p in pull_reviews(store, policy, client, TARGETED_ONLY).problems
        )
        assert len(reviews(store)) == 2

    def test_an_answer_that_is_no_label_is_reported(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla", argilla_server: Server
    ) -> None:
        text = {"required": True, "settings": {"type": "text"}}
        options = [{"value": value, "text": value} for value in ("answers", "perhaps")]
        label = {"name": "label", "required": True, "settings": {"type": "label_selection", "options": options}}
        parts = {"fields": [{"name": name, **text} for name in ("query", "pair")], "questions": [label]}
        dataset_id = make_dataset(argilla_server, dataset_name(policy), parts)
        shown = {p.pair_id: {"query": p.anchor, "pair": p.chunk} for p in pairs_to_review(store, policy)}
        items = [
            {"external_id": pair_id, "fields": fields, "metadata": {SHOWN: shown_hash(fields)}}
            for pair_id, fields in shown.items()
        ]
        call(client, "PUT", f"/api/v1/datasets/{dataset_id}/records/bulk", json={"items": items})
        records = on_server(client, policy)
        respond(ana, records[pair(1, 2)], "submitted", "perhaps")
        respond(ana, records[pair(1, 3)], "submitted", "answers")
        result = pull_reviews(store, policy, client, TARGETED_ONLY)
        assert result.new == 1
        assert len(result.problems) == 1
        assert "ana answered 'perhaps', which is no label" in result.problems[0]

    def test_nothing_pushed_says_what_to_run(self, store: Store, policy: Policy, client: "Argilla") -> None:
        with pytest.raises(MissingError) as error:
            pull_reviews(store, policy, client, TARGETED_ONLY)
        assert error.value.hint == f"uncited review push --policy {policy.name}"


class TestSubmit:
    def test_answers_given_before_are_not_given_again(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        answers = {p.pair_id: "related" for p in pairs_to_review(store, policy)}
        assert submit_reviews(ana, policy, answers) == PAIRS
        before = on_server(client, policy)
        assert submit_reviews(ana, policy, answers) == 0
        assert submit_reviews(ana, policy, answers | {pair(1, 1): "answers"}, notes={pair(1, 1): "yes"}) == 1
        after = on_server(client, policy)
        assert {k for k in after if after[k]["responses"] != before[k]["responses"]} == {pair(1, 1)}

    def test_what_cannot_be_submitted_is_named(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla"
    ) -> None:
        push_reviews(store, policy, client, TARGETED_ONLY)
        with pytest.raises(UsageError, match=r"'perhaps'.*answers, related, unrelated, unsure"):
            submit_reviews(ana, policy, {pair(1, 1): "perhaps"})
        with pytest.raises(MissingError, match="pair_unknown is not in dataset"):
            submit_reviews(ana, policy, {"pair_unknown": "related"})


class TestStatus:
    def test_counts_each_reviewer_on_the_server_and_at_home(
        self, store: Store, policy: Policy, client: "Argilla", ana: "Argilla", bob: "Argilla"
    ) -> None:
        assert review_status(store, policy, client).on_server is None
        push_reviews(store, policy, client, TARGETED_ONLY)
        submit_reviews(ana, policy, {pair(1, 1): "answers", pair(1, 2): "answers"})
        pull_reviews(store, policy, client, TARGETED_ONLY)
        records = on_server(client, policy)
        respond(bob, records[pair(1, 1)], "discarded", None)
        respond(bob, records[pair(1, 3)], "draft", "related")
        status = review_status(store, policy, client)
        assert status.on_server is not None
        assert (status.on_server.records, status.on_server.completed) == (PAIRS, 2)
        counts = {r.reviewer: (r.submitted, r.discarded, r.draft, r.unanswered) for r in status.on_server.reviewers}
        assert counts["ana"] == (2, 0, 0, PAIRS - 2)
        assert counts["bob"] == (0, 1, 1, PAIRS - 3), "ana completed a record that he has not answered"
        at_home = {"reviewer": "ana", "stream": "targeted", "status": "submitted", "label": "answers"} | {
            "reviews": 2,
            "carried": 0,
        }
        assert status.at_home == (at_home,)
        assert review_status(store, policy, None).at_home == (at_home,)


class TestConnect:
    def test_a_workspace_without_a_server_says_what_to_run(self, tmp_path: Path) -> None:
        with pytest.raises(MissingError) as error:
            connect(tmp_path / "argilla")
        assert error.value.hint == "uncited argilla up"

    def test_the_running_server_of_the_workspace_is_used(self, argilla_server: Server) -> None:
        client = connect(argilla_server.home)
        client.http_client.close()
        assert client.api_url == argilla_server.url

    def test_the_environment_names_another_server(
        self, argilla_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ARGILLA_API_URL", argilla_server.url + "/")
        with pytest.raises(UsageError, match="ARGILLA_API_KEY is not"):
            connect(tmp_path)
        monkeypatch.setenv("ARGILLA_API_KEY", argilla_server.api_key)
        client = connect(tmp_path)
        client.http_client.close()
        assert client.api_url == argilla_server.url

    def test_a_wrong_key_is_refused_and_not_printed(self, argilla_server: Server) -> None:
        with pytest.raises(RefusedError, match="does not know this API key") as error:
            connect_as(argilla_server.url, "secret-but-wrong")
        assert "secret-but-wrong" not in str(error.value)

    def test_a_server_that_is_not_there_is_named(self) -> None:
        with pytest.raises(ProviderError, match=r"127\.0\.0\.1:9 cannot be reached"):
            connect_as("http://127.0.0.1:9", "key")

    @pytest.mark.parametrize("url", ["argilla.example.org", "ftp://x", "http://"])
    def test_what_is_no_address_is_refused(self, url: str) -> None:
        with pytest.raises(UsageError, match="no web address"):
            connect_as(url, "key")

    @pytest.mark.parametrize(
        ("pages", "message"),
        [
            ({}, "is no Argilla"),
            ({"/api/v1/me": USER, "/api/v1/version": {"version": "1.29.0"}}, "is Argilla 1.29.0; reviews need"),
        ],
    )
    def test_what_is_no_argilla_2_is_refused(self, pages: dict[str, Any], message: str) -> None:
        anything_else = {"*": Answer(200, "<html>hello</html>")}
        with serving(anything_else | pages) as url, pytest.raises(ProviderError, match=message):
            connect_as(url, "key")

    def test_the_workspace_is_the_named_one_or_ours_or_the_only_one(
        self, argilla_server: Server, client: "Argilla", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        team = f"team-{uuid4().hex[:6]}"
        made = call(client, "POST", "/api/v1/workspaces", json={"name": team})
        assert workspace_id(client) != made["id"]
        monkeypatch.setenv("ARGILLA_WORKSPACE", team)
        assert workspace_id(client) == made["id"]
        monkeypatch.setenv("ARGILLA_WORKSPACE", "nobodys")
        with pytest.raises(MissingError, match=rf"no workspace 'nobodys'.*{team}.*uncited"):
            workspace_id(client)
