import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mining.candidates import MineResult, mine
from mining.import_log import import_files
from mining.near_duplicates import repeats
from store.database import Store
from store.errors import MissingError
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import Interaction, Retrieved, Signal, add_interactions
from store.judge_queue import set_scope
from store.labels import labelled_candidates
from store.policies import Label, Policy
from store.text import NEAR_DUPLICATE, similarity

LABELS = (
    Label("answers", "it answers the question", "positive"),
    Label("off", "it does not", "negative"),
    Label("partly", "it answers a part", "excluded"),
)
WORDS = "flea tick louse mite bites jumps sleeps drinks hides waits grass fur skin dog cat bird summer winter egg larva"


def _policy(name: str = "p", **signals: str) -> Policy:
    return Policy(name, "Does it answer?", "question", "passage", LABELS, signals or {"cited": "answers"})


def _log(
    store: Store,
    query: str,
    texts: Sequence[str],
    signals: Sequence[tuple[str, int] | tuple[str, int, float]] = (("cited", 0),),
    name: str | None = None,
) -> None:
    """Log one interaction; a signal names the place of its chunk in `texts`, from 0."""
    retrieved = [Retrieved(f"c{chunk_id(text)[-6:]}", rank, text, 10.0 - rank) for rank, text in enumerate(texts, 1)]
    told = [Signal(s[0], retrieved[s[1]].external_id, s[2] if len(s) > 2 else 1.0) for s in signals]
    with store.transaction():
        add_interactions(store, [Interaction(query, tuple(retrieved), tuple(told), 1, name)], import_id="test")


def _passage(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS.split(), k=words))


def _candidates(store: Store, policy: Policy) -> set[tuple[object, ...]]:
    """(anchor, chunk, source, proposed) of all candidates, by text."""
    rows = store.rows(
        "SELECT anchors.text AS anchor, chunks.text AS chunk, source, proposed FROM candidates"
        " JOIN pairs USING (pair_id) JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id) WHERE policy_name = ?",
        [policy.name],
    )
    return {tuple(row.values()) for row in rows}


def _duplicates(store: Store) -> dict[object, tuple[object, object]]:
    """Text of each flagged chunk -> text of what it repeats, and how closely."""
    rows = store.rows(
        "SELECT chunks.text AS text, twins.text AS twin, similarity FROM candidates JOIN pairs USING (pair_id)"
        " JOIN chunks USING (chunk_id) JOIN chunks AS twins ON twins.chunk_id = duplicate_of"
    )
    return {row["text"]: (row["twin"], row["similarity"]) for row in rows}


def _all_rows(store: Store) -> list[str]:
    return sorted(map(repr, store.rows("FROM candidates") + store.rows("FROM pairs")))


# ----------------------------------------------------------------------------------------------------------- the rules


def test_cited_chunks_are_candidate_positives_and_the_rest_candidate_negatives(store: Store) -> None:
    _log(store, "q", ["cited text", "other text", "third text"])
    result = mine(store, _policy())
    assert _candidates(store, _policy()) == {
        ("q", "cited text", "cited", "positive"),
        ("q", "other text", "uncited", "negative"),
        ("q", "third text", "uncited", "negative"),
    }
    assert [tuple(source) for source in result.sources] == [
        ("cited", "positive", 1, 1, 0, 0, 0),
        ("uncited", "negative", 2, 1, 0, 0, 0),
    ]
    assert (result.new, result.removed, result.interactions, result.without_positive) == (3, 0, 1, 0)


def test_a_candidate_remembers_rank_score_and_interaction(store: Store) -> None:
    _log(store, "q", ["cited text", "other text"])
    mine(store, _policy())
    (row,) = store.rows("SELECT rank, score, interaction_id, pair_id FROM candidates WHERE source = 'uncited'")
    assert (row["rank"], row["score"]) == (2, 8.0)
    assert row["interaction_id"] == store.scalar("SELECT interaction_id FROM interactions")
    assert row["pair_id"] == pair_id(anchor_id("q"), chunk_id("other text"))


def test_pairs_have_the_id_that_the_rest_of_the_store_gives_them(store: Store) -> None:
    _log(store, 'ünï "quoted" \\ q', ["cited\n text", "other “text”"])
    mine(store, _policy())
    for row in store.rows("FROM pairs"):
        assert row["pair_id"] == pair_id(str(row["anchor_id"]), str(row["chunk_id"]))


def test_the_policy_says_which_signals_count_and_for_what(store: Store) -> None:
    signals = [("cited", 0), ("saved", 0), ("saved", 1), ("thumbs_down", 2), ("skimmed", 3), ("unknown", 4)]
    _log(store, "q", ["a", "b", "c", "d", "e"], signals)
    policy = _policy(cited="answers", saved="answers", thumbs_down="off", skimmed="partly")
    mine(store, policy)
    assert _candidates(store, policy) == {
        ("q", "a", "cited", "positive"),
        ("q", "a", "saved", "positive"),
        ("q", "b", "saved", "positive"),
        ("q", "c", "thumbs_down", "negative"),
        ("q", "d", "uncited", "negative"),  # what is suggested is excluded from training, so it suggests neither
        ("q", "e", "uncited", "negative"),
    }


def test_a_signal_that_did_not_happen_does_not_count(store: Store) -> None:
    _log(store, "q", ["a", "b", "c"], [("cited", 0, 0.0), ("cited", 1, -1.0), ("cited", 2, 0.5)])
    mine(store, _policy())
    assert {(chunk, source) for _, chunk, source, _ in _candidates(store, _policy())} == {
        ("a", "uncited"),
        ("b", "uncited"),
        ("c", "cited"),
    }


def test_a_chunk_that_one_list_holds_twice_stands_once_at_its_best_rank(store: Store) -> None:
    _log(store, "q", ["cited", "twice", "other", "twice"])
    mine(store, _policy())
    ranks = store.rows("SELECT rank FROM candidates JOIN pairs USING (pair_id) WHERE chunk_id = ?", [chunk_id("twice")])
    assert ranks == [{"rank": 2}]


def test_what_one_interaction_cites_is_no_negative_of_another_with_the_same_query(store: Store) -> None:
    _log(store, "q", ["a", "b"], [("cited", 0)], "first")
    _log(store, "q", ["b", "a"], [("cited", 0)], "second")
    mine(store, _policy())
    assert store.rows("SELECT DISTINCT proposed, sources FROM candidate_pairs") == [
        {"proposed": "positive", "sources": ["cited", "uncited"]}
    ]
    assert _duplicates(store) == {}  # a chunk is no repetition of itself


def test_votes_on_a_chunk_are_counted_over_the_answers_to_one_query(store: Store) -> None:
    _log(store, "q", ["a", "b", "c"], [("cited", 0), ("clicked", 1)], "first")
    _log(store, "q", ["c", "a", "b"], [("cited", 1)], "second")
    _log(store, "q", ["a", "d"], [("cited", 1)], "third")
    _log(store, "r", ["a", "b"], [("cited", 0)])
    result = mine(store, _policy(cited="answers", clicked="answers"))
    # a: 2 of 3 answers; b: 1 of 2 (a click); c: none of 2; d stood before one answer only
    assert [tuple(shared) for shared in result.shared] == [(2, 1, 1), (2, 0, 1), (3, 2, 1)]
    negatives = {
        (query, chunk) for query, chunk, _, proposed in _candidates(store, _policy()) if proposed == "negative"
    }
    assert negatives == {("q", "c"), ("r", "b")}


def test_a_chunk_of_the_same_document_as_a_positive_has_a_source_of_its_own(store: Store) -> None:
    texts = {"cited": "d1", "next": "d1", "also": "d1", "elsewhere": "d2", "nowhere": None, "down": "d1"}
    retrieved = tuple(Retrieved(text, n, text, None, "text", doc) for n, (text, doc) in enumerate(texts.items(), 1))
    other = (Retrieved("other", 1, "other", document="d1"), Retrieved("mine", 2, "mine", document="d3"))
    told = (Signal("cited", "cited"), Signal("thumbs_down", "down"))
    log = [Interaction("q", retrieved, told, 1), Interaction("r", other, (Signal("cited", "mine"),), 2)]
    with store.transaction():
        add_interactions(store, log, import_id="test")
    mine(store, _policy(cited="answers", thumbs_down="off"))
    assert {(query, chunk): source for query, chunk, source, _ in _candidates(store, _policy())} == {
        ("q", "cited"): "cited",
        ("q", "next"): "same-document",
        ("q", "also"): "same-document",
        ("q", "elsewhere"): "uncited",
        ("q", "nowhere"): "uncited",
        ("q", "down"): "thumbs_down",
        ("r", "other"): "uncited",
        ("r", "mine"): "cited",
    }


_EARLY, _LATE = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    ("told", "source"),
    [
        ([("clicked", 1.0, None)], "clicked"),
        ([("clicked", 1.0, None), ("dwell", 9.5, None)], "clicked_then_left"),
        ([("clicked", 1.0, None), ("dwell", 9.5, None), ("dwell", 40.0, None)], "clicked"),
        ([("clicked", 1.0, None), ("dwell", 0.0, None)], "clicked"),  # zero: it was not measured
        ([("clicked", 1.0, None), ("left", 1.0, None)], "clicked_then_left"),
        ([("clicked", 1.0, _EARLY), ("left", 1.0, _LATE)], "clicked_then_left"),
        ([("clicked", 1.0, _LATE), ("left", 1.0, _EARLY)], "clicked"),  # and came back
        ([("left", 1.0, None)], "uncited"),
        ([("ignored", 1.0, None)], "ignored"),
    ],
)
def test_a_click_and_a_short_stay_are_a_signal_of_their_own(
    store: Store, told: list[tuple[str, float, datetime | None]], source: str
) -> None:
    retrieved = (Retrieved("c", 1, "a chunk"), Retrieved("d", 2, "another"))
    signals = tuple(Signal(name, "c", value, moment) for name, value, moment in told)
    with store.transaction():
        add_interactions(store, [Interaction("q", retrieved, signals, 1)], import_id="test")
    policy = _policy(clicked="answers", clicked_then_left="off", ignored="off")
    result = mine(store, policy)
    proposed = "positive" if source == "clicked" else "negative"
    assert ("q", "a chunk", source, proposed) in _candidates(store, policy)
    assert result.without_positive == (source != "clicked")
    mine(store, _policy(clicked="answers"))  # a policy that does not name it takes the click for a click
    names = {row[2] for row in _candidates(store, policy) if row[1] == "a chunk"}
    assert names == ({"clicked"} if told[0][0] == "clicked" else {"uncited"})


def test_interactions_without_a_positive_signal_are_counted_and_still_put_forward(store: Store) -> None:
    _log(store, "q", ["a", "b"], [])
    _log(store, "r", ["a", "b"], [("clicked", 0)])
    _log(store, "s", ["a", "b"])
    _log(store, "nothing found", [], [])
    result = mine(store, _policy())
    assert (result.interactions, result.without_positive) == (4, 3)
    assert len(_candidates(store, _policy())) == 6


def test_without_interactions_mining_says_what_to_do(store: Store) -> None:
    with pytest.raises(MissingError, match="No interactions yet") as refused:
        mine(store, _policy())
    assert refused.value.hint == "uncited import FILE"


# ----------------------------------------------------------------------------------------------------- near-duplicates


def test_a_chunk_that_repeats_a_cited_one_is_flagged_and_never_asked_about(store: Store) -> None:
    cited, other = _passage(1), _passage(2)
    shouted = f"“{cited.upper()}”!"
    edited = cited.replace(cited.split()[30], "changed", 1)
    window = " ".join(cited.split()[30:]) + " " + _passage(3, 30)
    _log(store, "q", [cited, shouted, edited, window, other])
    result = mine(store, _policy())
    flagged = _duplicates(store)
    assert set(flagged) == {shouted, edited}
    assert flagged[shouted] == (cited, 1.0)
    twin, close = flagged[edited]
    assert twin == cited
    assert NEAR_DUPLICATE <= float(str(close)) < 1.0
    assert result.sources[1].duplicates == 2
    rows = labelled_candidates(store, _policy()).to_pylist()
    assert {row["chunk"] for row in rows if row["duplicate_of"]} == {shouted, edited}
    assert set_scope(store, _policy()) == 3  # cited, window, other


def test_a_chunk_that_repeats_what_another_interaction_cites_is_flagged_too(store: Store) -> None:
    cited = _passage(1)
    _log(store, "q", [cited, "x"], name="first")
    _log(store, "q", ["y", cited.upper()], name="second")
    mine(store, _policy())
    assert _duplicates(store) == {cited.upper(): (cited, 1.0)}


def test_what_repeats_the_positive_of_another_query_is_not_flagged(store: Store) -> None:
    _log(store, "q", [_passage(1), "x"])
    _log(store, "r", ["y", _passage(1).upper()])
    mine(store, _policy())
    assert _duplicates(store) == {}


def test_two_positives_that_repeat_each_other_stay_positives(store: Store) -> None:
    _log(store, "q", [_passage(1), _passage(1).upper()], [("cited", 0), ("cited", 1)])
    mine(store, _policy())
    assert _duplicates(store) == {}
    assert {proposed for *_, proposed in _candidates(store, _policy())} == {"positive"}


_texts = st.lists(st.sampled_from(WORDS.split()[:5]), min_size=1, max_size=14).map(" ".join)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), _texts, max_size=3),
    st.dictionaries(st.sampled_from("xyz"), _texts, max_size=3),
)
def test_repeats_are_exactly_the_chunks_similar_enough_to_a_positive(
    positives: Mapping[str, str], others: Mapping[str, str]
) -> None:
    expected = {}
    for name, text in others.items():
        best = max((similarity(text, positive) for positive in positives.values()), default=0.0)
        if best >= NEAR_DUPLICATE:
            expected[name] = best
    found = repeats(positives, others)
    assert {repeat.chunk_id: repeat.similarity for repeat in found} == expected
    for repeat in found:
        assert similarity(others[repeat.chunk_id], positives[repeat.duplicate_of]) == repeat.similarity


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 30), st.integers(5, 120))
def test_no_edit_is_small_enough_to_hide_a_repetition(seed: int, edits: int, words: int) -> None:
    rng = random.Random(seed)
    spoken = [f"word{n}" for n in range(words)]
    rng.shuffle(spoken)
    edited = list(spoken)
    for place in rng.choices(range(words), k=edits):
        edited[place] = rng.choice(["other", spoken[0], ""])
    one, other = " ".join(spoken), " ".join(edited)
    assert bool(repeats({"a": one}, {"x": other})) == (similarity(one, other) >= NEAR_DUPLICATE)


# -------------------------------------------------------------------------------------------------------- mining again


def _many(store: Store, anchors: int = 6) -> None:
    for n in range(anchors):
        _log(store, f"query {n}", [_passage(100 * n + k) for k in range(4)])


def test_mining_twice_changes_nothing(store: Store) -> None:
    _many(store)
    _log(store, "q", [_passage(1), _passage(1).upper()])
    mine(store, _policy())
    before = _all_rows(store)
    result = mine(store, _policy())
    assert (result.new, result.removed) == (0, 0)
    assert _all_rows(store) == before


def test_a_new_log_adds_to_the_candidates_and_may_settle_old_ones(store: Store) -> None:
    cited = _passage(1)
    _log(store, "q", ["x", cited.upper()])
    mine(store, _policy())
    assert _duplicates(store) == {}
    _log(store, "q", [cited], name="later")
    assert mine(store, _policy()).new == 1
    assert _duplicates(store) == {cited.upper(): (cited, 1.0)}


def test_a_policy_that_counts_other_signals_puts_its_candidates_in_place_of_the_old_ones(store: Store) -> None:
    _log(store, "q", ["a", "b", "c"], [("cited", 0), ("clicked", 1)])
    mine(store, _policy(cited="answers"))
    result = mine(store, _policy(clicked="answers"))
    assert _candidates(store, _policy()) == {
        ("q", "a", "uncited", "negative"),
        ("q", "b", "clicked", "positive"),
        ("q", "c", "uncited", "negative"),
    }
    assert (result.new, result.removed) == (2, 2)


def test_a_role_that_changes_changes_what_is_proposed(store: Store) -> None:
    _log(store, "q", ["a", "b"], [("thumbs_down", 0)])
    mine(store, _policy(thumbs_down="off"))
    mine(store, _policy(thumbs_down="answers"))
    assert ("q", "a", "thumbs_down", "positive") in _candidates(store, _policy())
    assert len(_candidates(store, _policy())) == 2


def test_policies_do_not_touch_each_others_candidates(store: Store) -> None:
    _log(store, "q", ["a", "b"], [("cited", 0), ("saved", 1)])
    taste = _policy("taste", saved="answers")
    mine(store, _policy())
    mine(store, taste)
    mine(store, _policy(clicked="answers"))
    assert ("q", "b", "saved", "positive") in _candidates(store, taste)
    assert store.count("SELECT count(*) FROM pairs") == 2  # a pair is a pair under every policy


_MINE = """
import sys
from pathlib import Path
from mining.candidates import mine
from store.database import Store
from tests.test_mine import _policy
with Store(Path(sys.argv[1])) as store:
    print("begin", flush=True)
    mine(store, _policy())
"""


def test_mining_that_is_killed_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    database = tmp_path / "uncited.duckdb"
    lines = []
    for n in range(600):
        retrieved = [{"chunk_id": f"{n}-{k}", "rank": k + 1, "text": _passage(n * 10 + k)} for k in range(10)]
        lines.append(json.dumps({"query": f"query {n}", "retrieved": retrieved, "cited": [f"{n}-0"]}))
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines))
    with Store(database) as store:
        import_files(store, [log])
    command = [sys.executable, "-c", _MINE, str(database)]
    for delay in (0.05, 0.4):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[1]) as process:
            assert process.stdout
            assert process.stdout.readline() == b"begin\n"
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.kill()
        with Store(database) as store:
            assert store.count("SELECT count(*) FROM candidates") in (0, 6_000)
    with Store(database) as store:
        mine(store, _policy())
        interrupted = _all_rows(store)
    with Store(tmp_path / "undisturbed.duckdb") as store:
        import_files(store, [log])
        mine(store, _policy())
        assert _all_rows(store) == interrupted


# ----------------------------------------------------------------------------------------------------------- real logs


def _mine_real(store: Store, file: Path) -> tuple[MineResult, list[dict[str, object]]]:
    import_files(store, [file])
    result = mine(store, _policy())
    pairs: list[dict[str, object]] = labelled_candidates(store, _policy()).to_pylist()
    return result, pairs


def test_crowdrag25_gives_a_candidate_for_every_chunk_that_was_retrieved(store: Store, real_logs: Path) -> None:
    file = real_logs / "crowdrag25" / "interactions.jsonl"
    result, pairs = _mine_real(store, file)
    expected: dict[tuple[str, str], bool] = {}
    for raw in file.read_bytes().splitlines():
        line = json.loads(raw)
        for chunk in line["retrieved"]:
            key = (line["query"], chunk["text"])
            expected[key] = expected.get(key, False) or chunk["chunk_id"] in line["cited"]
    proposed = {(str(pair["anchor"]), str(pair["chunk"])): pair["proposed"] == "positive" for pair in pairs}
    assert proposed == expected
    assert (result.interactions, result.without_positive) == (258, 0)
    assert sum(source.pairs for source in result.sources) == len(expected)
    assert {source.source for source in result.sources} == {"cited", "uncited"}


def test_crowdrag25_flags_copies_and_not_the_windows_of_one_page(store: Store, real_logs: Path) -> None:
    _, pairs = _mine_real(store, real_logs / "crowdrag25" / "interactions.jsonl")
    texts = {str(pair["chunk_id"]): str(pair["chunk"]) for pair in pairs}
    flagged = [pair for pair in pairs if pair["duplicate_of"]]
    assert len(flagged) == 9  # read one by one: one page, mirrored or cut a sentence or two apart
    for pair in flagged:
        assert pair["proposed"] == "negative"
        assert similarity(str(pair["chunk"]), texts[str(pair["duplicate_of"])]) >= NEAR_DUPLICATE
    # Most neighbours in the log are windows of one page that share about half their text; those are for a judge.
    assert len(flagged) < 0.01 * sum(pair["proposed"] == "negative" for pair in pairs)
