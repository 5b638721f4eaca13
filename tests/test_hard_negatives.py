"""Negatives that no log retrieved: by words, by meaning, of other kinds, and by chance."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mining.candidates import mine
from mining.hard_negatives import MinedNegatives, mine_negatives
from mining.spread import spread
from mining.whole_corpus import add_corpus
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.errors import InvalidDataError
from store.ids import anchor_id, chunk_id, pair_id
from store.interactions import Interaction, Retrieved, Signal, add_interactions
from store.policies import Label, Policy
from store.text import normalised
from store.workspace import MineSettings
from tests.labelled_store import judge_pairs
from tests.test_cli import run as run_command

POLICY = Policy(
    "p",
    "Does it answer?",
    "question",
    "passage",
    (Label("answers", "it answers the question", "positive"), Label("off", "it does not", "negative")),
    {"cited": "answers"},
)
TOPICS = {
    "fleas": "flea larva egg pupa jump bite fur dog cat carpet vacuum spray",
    "bread": "flour yeast dough knead oven crust loaf rise bake salt water starter",
    "stars": "star galaxy telescope nebula orbit planet comet light gravity dust moon sky",
    "money": "bank loan interest credit debt rate mortgage savings account fee broker fund",
}


def passage(topic: str, seed: int, words: int = 40) -> str:
    rng = random.Random(f"{topic} {seed}")
    return " ".join(rng.choices(TOPICS[topic].split(), k=words))


def log(store: Store, query: str, texts: Sequence[str], kinds: Mapping[str, str] | None = None) -> None:
    """Log a query whose first text is cited."""
    retrieved = tuple(
        Retrieved(f"c{chunk_id(text)[-8:]}", rank, text, kind=(kinds or {}).get(text, "text"))
        for rank, text in enumerate(texts, 1)
    )
    with store.transaction():
        signals = (Signal("cited", retrieved[0].external_id),)
        add_interactions(store, [Interaction(query, retrieved, signals, 1)], import_id="test")


def fill(store: Store, queries: int = 3, chunks: int = 4) -> None:
    """Log some queries on each topic, and put what they cite and do not cite forward."""
    for topic, words in TOPICS.items():
        for number in range(queries):
            query = f"{words.split()[number]} {words.split()[number + 1]}?"
            log(store, query, [passage(topic, 100 * number + n) for n in range(chunks)])
    mine(store, POLICY)


def mined(store: Store, source: str | None = None) -> dict[str, set[str]]:
    """Map each query to the texts that sources beyond the log put forward for it."""
    rows = store.rows(
        "SELECT anchors.text AS query, chunks.text AS chunk FROM candidates JOIN pairs USING (pair_id)"
        " JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)"
        " WHERE search_id IS NOT NULL AND source = coalesce(?, source)",
        [source],
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(str(row["query"]), set()).add(str(row["chunk"]))
    return found


def run(store: Store, **settings: object) -> MinedNegatives:
    return mine_negatives(store, POLICY, MineSettings.model_validate(settings))


def retrieved_for(store: Store, query: str) -> set[str]:
    rows = store.rows(
        "SELECT DISTINCT text FROM retrievals JOIN interactions USING (interaction_id) JOIN chunks USING (chunk_id)"
        " WHERE anchor_id = ?",
        [anchor_id(query)],
    )
    return {str(row["text"]) for row in rows}


def holders_of(store: Store) -> Counter[str]:
    """How many queries got each chunk as a negative."""
    return Counter(text for texts in mined(store).values() for text in texts)


def put_anchor(store: Store, query: str, positive: str) -> None:
    """Put a question forward that nobody asked, as `uncited synthesize` does."""
    store.insert("anchors", pa.table({"anchor_id": [anchor_id(query)], "text": [query]}))
    put_candidates(store, POLICY.name, [Candidate(anchor_id(query), chunk_id(positive), "synthetic", "positive")])


# ----------------------------------------------------------------------------------------------------------- the rules


def test_negatives_by_words_share_words_with_the_query_and_were_never_retrieved_for_it(store: Store) -> None:
    fill(store)
    result = run(store, per_query={"bm25": 3})
    found = mined(store)
    assert {query: len(texts) for query, texts in found.items()} == dict.fromkeys(found, 3)
    assert len(found) == result.queries == 12
    for query, texts in found.items():
        asked = set(query.rstrip("?").split())
        assert all(asked & set(text.split()) for text in texts)
        assert not texts & retrieved_for(store, query)


def test_a_query_in_a_script_without_spaces_finds_the_chunk_with_its_characters(store: Store) -> None:
    log(store, "東京の天気", ["cited text", "other text"])
    log(store, "bread", ["明日の東京は晴れ", "flour and water"])
    mine(store, POLICY)
    run(store, per_query={"bm25": 1})
    assert mined(store)["東京の天気"] == {"明日の東京は晴れ"}


def test_a_candidate_says_from_which_search_it_came_with_rank_and_score(store: Store) -> None:
    fill(store)
    run(store, per_query={"bm25": 2, "random": 1}, seed=7)
    rows = store.rows("SELECT candidates.source, rank, score, settings FROM candidates JOIN searches USING (search_id)")
    assert {row["source"] for row in rows} == {"bm25", "random"}
    for row in rows:
        told = json.loads(str(row["settings"]))
        assert told["seed"] == 7
        assert told["per_query"] == (2 if row["source"] == "bm25" else 1)
        assert (row["rank"] is None) == (row["score"] is None) == (row["source"] == "random")
    assert {row["rank"] for row in rows if row["source"] == "bm25"} == {1, 2}


def test_other_kinds_are_of_no_kind_that_the_query_has_a_positive_of(store: Store) -> None:
    tables = {passage("bread", 900 + n): "table" for n in range(3)}
    log(store, "flour yeast?", [passage("bread", 1), *tables], tables)
    log(store, "dough crust?", [passage("bread", 2), passage("bread", 3)])
    mine(store, POLICY)
    run(store, per_query={"other-kind": 2})
    found = mined(store)
    assert "flour yeast?" not in found, "its log holds all tables there are"
    assert len(found["dough crust?"]) == 2
    assert found["dough crust?"] <= set(tables)


def test_what_repeats_a_positive_is_settled_and_another_takes_its_place(store: Store) -> None:
    cited = passage("bread", 1)
    log(store, "flour yeast dough?", [cited])
    others = [f"flour {passage('stars', n)}" for n in (5, 6)]
    log(store, "water?", [passage("money", 1), cited.upper(), cited + " again", *others])
    mine(store, POLICY)
    result = run(store, per_query={"bm25": 2, "random": 1})
    rows = store.rows(
        "SELECT source, text, duplicate_of FROM candidates JOIN pairs USING (pair_id) JOIN chunks USING (chunk_id)"
        " WHERE search_id IS NOT NULL AND anchor_id = ?",
        [anchor_id("flour yeast dough?")],
    )
    repeating = {row["text"] for row in rows if row["duplicate_of"]}
    assert repeating == {cited.upper(), cited + " again"}
    assert {row["text"] for row in rows if row["source"] == "bm25"} - repeating == set(others)
    assert {row["duplicate_of"] for row in rows} == {None, chunk_id(cited)}
    assert result.sources[0].duplicates == 2


def test_a_pair_goes_to_one_source_and_the_next_looks_further(store: Store) -> None:
    fill(store)
    run(store, per_query={"bm25": 2, "random": 50})
    by_words, by_chance = mined(store, "bm25"), mined(store, "random")
    assert all(not by_words[query] & by_chance[query] for query in by_words)
    assert all(len(texts) == 48 - 4 - 2 for texts in by_chance.values()), "all there is, and nothing twice"


def test_kinds_that_the_policy_does_not_cover_are_never_put_forward(store: Store) -> None:
    code = {passage("bread", 900): "code"}
    log(store, "flour yeast?", [passage("bread", 1), passage("stars", 1)])
    log(store, "dough?", [passage("bread", 2), passage("bread", 3), *code], code)
    narrow = replace(POLICY, kinds=("text",))
    mine(store, narrow)
    mine_negatives(store, narrow, MineSettings(per_query={"bm25": 5, "random": 5}))
    assert mined(store)["flour yeast?"] == {passage("bread", 2), passage("bread", 3)}


def test_questions_without_a_log_of_their_own_get_negatives_too(store: Store) -> None:
    fill(store)
    put_anchor(store, "where is the oven?", passage("bread", 0))
    run(store, per_query={"bm25": 2})
    assert len(mined(store)["where is the oven?"]) == 2


@pytest.mark.parametrize("queries", [0, 1])
def test_without_positives_or_without_other_chunks_there_is_nothing_and_no_error(store: Store, queries: int) -> None:
    for number in range(queries):
        log(store, f"query {number}", ["the only chunk"])
        mine(store, POLICY)
    result = run(store, per_query={"bm25": 2, "other-kind": 2, "random": 2})
    assert result.queries == queries
    assert all(source.negatives == 0 and source.short == queries for source in result.sources)
    assert mined(store) == {}


# --------------------------------------------------------------------------------------------------- quotas and spread


@settings(deadline=None)
@given(
    options=st.lists(st.lists(st.integers(0, 9), unique=True, max_size=8), min_size=1, max_size=8),
    quota=st.integers(0, 4),
    per_chunk=st.integers(1, 4),
    banned=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 9))),
    shuffled=st.randoms(use_true_random=False),
)
def test_every_query_gets_its_quota_as_far_as_the_cap_allows_and_none_starves(
    options: list[list[int]], quota: int, per_chunk: int, banned: set[tuple[int, int]], shuffled: random.Random
) -> None:
    order = list(range(len(options)))
    shuffled.shuffle(order)
    asked: list[tuple[int, int]] = []

    def unfit(pairs: list[tuple[int, int]]) -> set[tuple[int, int]]:
        asked.extend(pairs)
        return banned & set(pairs)

    holders: Counter[int] = Counter()
    given = spread(options, quota, per_chunk=per_chunk, order=order, holders=holders, unfit=unfit)
    assert len(set(asked)) == len(asked), "nobody compares two texts twice"
    assert holders == +Counter(chunk for own in given for chunk in own)
    bent = Counter(own[0] for own in given if len(own) == 1)
    for anchor, own in enumerate(given):
        fit = [chunk for chunk in options[anchor] if (anchor, chunk) not in banned]
        assert own == [chunk for chunk in fit if chunk in own], "from its options, in their order, none twice"
        assert len(own) <= quota
        if quota and fit:
            assert own, "no query is left with nothing"
        if len(own) < quota:
            assert all(chunk in own or holders[chunk] >= per_chunk or banned for chunk in fit)
    assert all(count <= per_chunk + bent[chunk] for chunk, count in holders.items())


def test_no_chunk_is_everyones_negative(store: Store) -> None:
    for number in range(30):
        log(store, f"moon number {number}?", [f"{passage('money', number)} {number}"])
    log(store, "bread?", [passage("bread", 0), *(f"the moon {n} {passage('stars', n)}" for n in range(20))])
    mine(store, POLICY)
    run(store, per_query={"bm25": 2}, per_chunk=4, range_max=20)
    assert max(holders_of(store).values()) == 4
    assert all(len(texts) == 2 for query, texts in mined(store).items() if query.startswith("moon"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("mined") / "uncited.duckdb") as opened:
        fill(opened)
        yield opened


@settings(deadline=None, max_examples=8)
@given(
    quota=st.integers(1, 4),
    seed=st.integers(0, 3),
    sampling=st.sampled_from(["top", "random"]),
    range_min=st.integers(0, 3),
)
def test_whatever_the_settings_a_positive_is_never_a_negative_and_the_result_is_always_the_same(
    shared: Store, quota: int, seed: int, sampling: str, range_min: int
) -> None:
    both, none = {"bm25": quota, "random": quota}, {"bm25": 0, "random": 0}
    found = []
    for sources in ([both], [both], [none, {"bm25": quota}, {"random": quota}]):  # at once, again, one after the other
        for per_query in sources:
            run(shared, per_query=per_query, seed=seed, sampling=sampling, range_min=range_min)
        found.append((mined(shared, "bm25"), mined(shared, "random")))
    assert found[0] == found[1] == found[2]
    for each in found[0]:
        for query, texts in each.items():
            assert len(texts) <= quota
            own = {normalised(text) for text in retrieved_for(shared, query)}
            assert not own & {normalised(text) for text in texts}


def test_another_seed_draws_others_and_a_larger_quota_keeps_what_was_drawn(store: Store) -> None:
    fill(store)
    run(store, per_query={"random": 2})
    first = mined(store)
    run(store, per_query={"random": 4})
    assert all(first[query] < texts for query, texts in mined(store).items())
    run(store, per_query={"random": 2}, seed=1)
    assert mined(store) != first


def test_chance_hardly_changes_its_mind_as_the_corpus_grows(store: Store) -> None:
    fill(store, queries=10, chunks=10)
    run(store, per_query={"random": 5})
    before = mined(store)
    log(store, "new?", [passage("bread", 5000 + n) for n in range(4)])  # 1 % of the corpus
    mine(store, POLICY)
    run(store, per_query={"random": 5})
    after = mined(store)
    assert sum(len(before[query] - after[query]) for query in before) < 0.05 * 5 * len(before)


# -------------------------------------------------------------------------------------------------------- mining again


def test_mining_again_replaces_what_nobody_looked_at_and_keeps_what_somebody_did(store: Store) -> None:
    fill(store)
    run(store, per_query={"random": 2})
    query, texts = next(iter(mined(store).items()))
    looked_at = pair_id(anchor_id(query), chunk_id(min(texts)))
    judge_pairs(store, POLICY, {looked_at: "off"}, {"model": "m"})
    result = run(store, per_query={"random": 2}, seed=5)
    assert result.sources[0].kept == 1
    assert min(texts) in mined(store)[query]
    assert len(mined(store)[query]) in (2, 3)
    assert run(store, per_query={"random": 0}).sources[0].kept >= 1
    assert mined(store) == {query: {min(texts)}}


def test_sources_that_are_not_asked_for_stay_as_they_are(store: Store) -> None:
    fill(store)
    run(store, per_query={"bm25": 2})
    before = mined(store)
    run(store, per_query={"random": 1})
    assert mined(store, "bm25") == before
    mine(store, POLICY)
    assert mined(store, "bm25") == before, "nor does mining the log touch them"


def test_a_chunk_that_the_log_retrieves_later_is_the_logs_candidate(store: Store) -> None:
    fill(store)
    run(store, per_query={"bm25": 1})
    query, (text,) = next(iter(mined(store).items()))
    log(store, query, [text, "something else"])
    mine(store, POLICY)
    run(store, per_query={"bm25": 1})
    assert text not in mined(store).get(query, set())
    row = store.rows(
        "SELECT proposed, sources FROM candidate_pairs WHERE pair_id = ?", [pair_id(anchor_id(query), chunk_id(text))]
    )
    assert row == [{"proposed": "positive", "sources": ["cited"]}]


# ---------------------------------------------------------------------------------------------- the rest of the corpus


def test_chunks_that_no_log_names_are_searched_once_they_are_added(store: Store, tmp_path: Path) -> None:
    fill(store)
    corpus = tmp_path / "corpus.jsonl"
    lines = [{"chunk_id": f"x{n}", "text": f"flour yeast {n}"} for n in range(3)]
    corpus.write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0] | {"chunk_id": "again"}]))
    assert add_corpus(store, corpus) == 3
    assert add_corpus(store, corpus) == 0
    assert store.count("SELECT count(*) FROM chunk_names WHERE external_id LIKE 'x%' OR external_id = 'again'") == 4
    run(store, per_query={"bm25": 3})
    assert mined(store)["flour yeast?"] & {line["text"] for line in lines}


def test_a_corpus_with_a_bad_line_adds_nothing_and_names_the_line(store: Store, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"chunk_id": "a", "text": "good"}\n{"chunk_id": "b"}\n')
    with pytest.raises(InvalidDataError, match=r"corpus\.jsonl:2"):
        add_corpus(store, corpus)
    assert store.rows("FROM chunks") == store.rows("FROM chunk_names") == []


# -------------------------------------------------------------------------------------------------------- the command


@pytest.mark.slow
def test_the_command_takes_quotas_from_the_file_or_from_its_options(tmp_path: Path) -> None:
    run_command("init", "w", cwd=tmp_path)
    lines = [
        {
            "query": query,
            "retrieved": [{"chunk_id": f"{topic}{n}", "rank": n + 1, "text": passage(topic, n)} for n in range(3)],
            "cited": [f"{topic}0"],
        }
        for topic, query in (("fleas", "flea larva?"), ("bread", "flea bread flour?"))
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ("mine", "--policy", "answers-the-question", "-w", "w")
    run_command("import", "log.jsonl", "-w", "w", cwd=tmp_path)
    run_command("policy", "add", "w/policies/example.yaml", "-w", "w", cwd=tmp_path)
    assert json.loads(run_command(*words, "--json", cwd=tmp_path).stdout)["mined"] is None
    given = json.loads(run_command(*words, "--from", "bm25=1", "--json", cwd=tmp_path).stdout)
    assert [source["source"] for source in given["mined"]["sources"]] == ["bm25"]
    (tmp_path / "w" / "uncited.toml").write_text("[mine]\nper_query = { random = 2 }\n")
    shown = run_command(*words, cwd=tmp_path)
    assert "random: 4 negatives; 4 candidates new" in shown.stdout
    assert "Next: uncited judge" in shown.stderr
    for wrong in ("bm25", "bm25=many", "google=2"):
        message = run_command(*words, "--from", wrong, cwd=tmp_path, status=2).stderr
        assert f"--from {wrong}" in message
        assert "Try:" in message
