"""Every kind of model trains with each of its losses, is saved and loaded, and is told apart again."""

import dataclasses
import json
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.database import Store
from store.errors import MissingError, UsageError
from store.policies import Label, add_policy
from store.progress import silent
from tests.labelled_store import POLICY, distinct, fill, log, question, review
from tests.training import split_of
from train import ranking, trainer
from train.batches import Meets, apart_sampler, batches_apart
from train.held_out import HeldOut
from train.kinds import fixed, kind_of, load, make_loss
from train.ranking import rank_with_all
from train.recipe import LOSSES, Kind, Recipe
from train.rows import read_training_split, rows_for
from train.sweep_file import Plan, recipes
from train.trials import laboratory_on_validation
from train.triplets import build
from train.validation import hold_back, validation_of

pytestmark = pytest.mark.usefixtures("one_thread")

ANIMALS = ("flea", "badger", "ostrich", "whale", "mole", "cricket")
SPLIT = split_of(
    [
        (f"{animal} {animal[::-1]}?", f"the {animal} answers {animal}", f"nothing {n} about {animal} {n}")
        for animal in ANIMALS
        for n in ("at all", "whatsoever", "new")
    ]
)
EVERY_LOSS = [(kind, loss) for kind, losses in LOSSES.items() for loss, reads in losses.items() if not reads.distills]


@pytest.mark.parametrize(("kind", "loss"), EVERY_LOSS)
def test_every_kind_trains_with_every_loss_and_loads(kind: Kind, loss: str, minilm: str, tmp_path: Path) -> None:
    negatives = 2 if loss.endswith("multiple-negatives") else 1
    recipe = Recipe(
        kind=kind,
        base_model=minilm,
        loss=loss,
        batch_size=2,
        mini_batch_size=1,
        max_steps=2,
        learning_rate=1e-4,
        negatives=negatives,
    )
    done = trainer.train(SPLIT, recipe, out=tmp_path / "model")
    assert done.run["steps"] == 2
    assert (done.run["settings"]["kind"], done.run["settings"]["loss"]) == (kind, loss)
    assert done.run["fixed"].items() <= fixed(recipe.complete()).items()
    assert done.run["fixed"]["warmup_share"] == 0.1
    assert done.run["fixed"].keys().isdisjoint(done.run["settings"])
    assert kind_of(str(done.model)) == kind
    assert (
        type(load(kind, str(done.model)))
        .__name__.lower()
        .startswith({"bi-encoder": "sentence", "reranker": "cross", "multi-vector": "multi", "sparse": "sparse"}[kind])
    )
    assert not trainer.train(SPLIT, recipe, out=tmp_path / "model").is_new


@pytest.mark.parametrize("kind", ["reranker", "multi-vector", "sparse"])
def test_new_weights_are_drawn_by_the_seed(kind: Kind, minilm: str, tmp_path: Path) -> None:
    def losses(name: str, seed: int) -> list[list[float]]:
        recipe = Recipe(kind=kind, base_model=minilm, batch_size=2, max_steps=2, seed=seed)
        found: list[list[float]] = trainer.train(SPLIT, recipe, out=tmp_path / name).run["losses"]
        return found

    first = losses("first", 0)
    assert losses("again", 0) == first
    assert losses("other", 1) != first


def test_a_cached_loss_in_small_pieces_is_the_loss_of_the_whole_batch(minilm: str) -> None:
    import torch

    model = load("bi-encoder", minilm).to("cpu").eval()  # dropout would draw other numbers for other pieces
    rows = rows_for(SPLIT, Recipe(base_model=minilm, negatives=2).complete()).columns.values()
    found = []
    for loss, pieces in (
        ("multiple-negatives", 32),
        ("cached-multiple-negatives", 32),
        ("cached-multiple-negatives", 2),
    ):
        recipe = Recipe(base_model=minilm, loss=loss, negatives=2, mini_batch_size=pieces).complete()
        model.zero_grad()
        value = make_loss(model, recipe)([model.preprocess(list(column)[:5]) for column in rows], None)
        value.backward()
        gradient = torch.stack([weight.grad.norm() for weight in model.parameters() if weight.grad is not None])
        found.append([value.item(), gradient.norm().item()])
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    assert found[2] == pytest.approx(found[0], rel=1e-3)


def test_gist_asks_a_guide_of_its_own_and_reads_one_negative_a_row(minilm: str, tmp_path: Path) -> None:
    guide = str(shutil.copytree(minilm, tmp_path / "guide"))
    recipe = Recipe(base_model=minilm, loss="gist", guide=guide, batch_size=2, max_steps=1)
    assert list(rows_for(SPLIT, recipe.complete()).columns) == ["anchor", "positive", "negative"]
    run = trainer.train(SPLIT, recipe, out=tmp_path / "model").run
    assert (run["steps"], run["settings"]["guide"]) == (1, guide)
    assert run["fixed"]["temperature"] == 0.01
    plan = Plan(losses=("multiple-negatives", "gist"), negatives=(1, 4))
    assert [(tried.loss, tried.negatives) for tried in recipes(plan)] == [
        ("multiple-negatives", 1),
        ("multiple-negatives", 4),
        ("gist", 1),
    ]


def test_shorter_embeddings_are_trained_too_and_too_long_ones_refused(minilm: str, tmp_path: Path) -> None:
    recipe = Recipe(base_model=minilm, matryoshka=(128, 32), batch_size=2, max_steps=1)
    run = trainer.train(SPLIT, recipe, out=tmp_path / "model").run
    plain = trainer.train(SPLIT, Recipe(base_model=minilm, batch_size=2, max_steps=1), out=tmp_path / "plain").run
    assert run["settings"]["matryoshka"] == [128, 32]
    assert run["losses"][0][1] > 2 * plain["losses"][0][1], "the losses of 384, 128 and 32 values are summed"
    with pytest.raises(UsageError, match="have 384 values"):
        trainer.train(SPLIT, Recipe(base_model=minilm, matryoshka=(512,)), out=tmp_path / "long")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe(kind="reranker", loss="gist"), "a reranker is not trained with the loss 'gist'; there are binary"),
        (Recipe(kind="sparse", matryoshka=(64,)), "are of bi-encoders"),
        (Recipe(matryoshka=(64, 64)), "different lengths"),
        (Recipe(loss="triplet", negatives=2), "reads one negative, not 2"),
        (Recipe(loss="gist", negatives=2), "reads one negative, not 2"),
        (Recipe(kind="reranker", negatives=2), "reads labels, not 2"),
        (Recipe(guide="other"), "belongs to the loss 'gist'"),
        (Recipe(accumulate=0), "above zero: accumulate"),
        (Recipe(max_steps=0), "above zero: max steps"),
    ],
)
def test_what_does_not_go_together_is_refused(recipe: Recipe, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        recipe.complete()


def test_what_has_no_bearing_is_not_recorded() -> None:
    assert "mini_batch_size" not in Recipe().complete().settings()
    assert Recipe(mini_batch_size=8).complete().settings() == Recipe().complete().settings()
    assert Recipe(loss="gist", base_model="m").complete().settings()["guide"] == "m"
    lists = Recipe(kind="reranker", loss="lambda", mini_batch_size=8).complete()
    assert "mini_batch_size" not in lists.settings()
    assert fixed(lists)["mini_batch_size"] == 8, "told all the same"


class TestRows:
    def test_hard_negatives_fill_a_row_and_the_last_one_begins_again(self) -> None:
        rows = rows_for(SPLIT, Recipe(base_model="m", negatives=2).complete()).columns
        assert list(rows) == ["anchor", "positive", "negative_1", "negative_2"]
        mole = [row[2:] for row in zip(*rows.values(), strict=True) if str(row[0]).startswith("mole")]
        assert len(mole) == 2
        assert {text for row in mole for text in row} == {
            f"nothing {n} about mole {n}" for n in ("at all", "whatsoever", "new")
        }
        assert all(len(set(row)) == 2 for row in mole)

    def test_pairs_and_lists_hold_every_label_once(self, store: Store) -> None:
        split = read_training_split(store, build(store, fill(store, 6), test_share=0.3).build)
        pairs = rows_for(split, Recipe(kind="reranker", base_model="m").complete())
        assert pairs.count == split.labels.num_rows > 0
        assert set(pairs.columns["label"]) == {0.0, 1.0}
        lists = rows_for(split, Recipe(kind="reranker", loss="lambda", base_model="m").complete()).columns
        assert sum(map(len, lists["labels"])) == pairs.count
        assert all(set(labels) == {0.0, 1.0} for labels in lists["labels"])
        assert {"label", "grade", "share"}.isdisjoint(split.labels.column_names), "relevance says it all"

    def test_labels_on_a_scale_reach_the_losses_that_read_labels_as_grades(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worth = {"full": 3, "part": 2, "near": 1, "away": 0}
        labels = [Label(name, name, "positive" if grade > 1 else "negative") for name, grade in worth.items()]
        graded = dataclasses.replace(POLICY, labels=tuple(labels), signals={"cited": "full"}, scale="ordered")
        monkeypatch.setattr("tests.labelled_store.POLICY", graded)
        policy, _ = add_policy(store, graded)
        for i in range(16):
            texts = {distinct(name, i): name for name in worth}
            log(store, question(i), list(texts), cited=[distinct("full", i)])
            review(store, question(i), texts)
        split = read_training_split(store, build(store, policy, test_share=0.3).build)

        def columns(kind: Kind, loss: str = "") -> list[tuple[Any, ...]]:
            made = rows_for(split, Recipe(kind=kind, base_model="m", loss=loss).complete()).columns
            return list(zip(*made.values(), strict=True))

        pairs = columns("reranker")
        assert pairs == columns("bi-encoder", "cosine")
        assert {chunk[:4]: label for _, chunk, label in pairs} == {name: worth[name] / 3 for name in worth}
        for _, chunks, grades in columns("reranker", "lambda") + columns("reranker", "listwise"):
            assert grades == [worth[chunk[:4]] for chunk in chunks]
        sides = {(positive[:4], negative[:4]) for _, positive, negative in columns("bi-encoder")}
        assert sides <= {(good, bad) for good in ("full", "part") for bad in ("near", "away")}
        held = hold_back(split, 0.5, 0).held
        assert held
        assert {grade for known in validation_of(held).qrels.values() for grade in known.values()} == {0, 1, 2, 3}
        place = laboratory_on_validation(held, Path("nowhere"))
        assert place.grades == validation_of(held).qrels
        assert {relevance for known in place.qrels.values() for relevance in known.values()} == {0, 1}

    def test_a_list_without_anything_to_tell_apart_is_left_out(self) -> None:
        with pytest.raises(MissingError, match="nothing for the loss 'lambda'"):
            rows_for(split_of([]), Recipe(kind="reranker", loss="lambda", base_model="m").complete())


class TestBatches:
    # Two positives of one anchor, a paraphrase of a positive, and an anchor that says the same: in one batch any of
    # them would be pushed away from what it belongs to, and no text stands there twice.
    FLEA = "Fleas live about a hundred days when they find a host soon and the weather stays mild and damp."
    CONSTRUCTED = split_of(
        [
            ("How long does a flea live?", FLEA, "Ticks wait on tall grass for a host to pass by."),
            ("How long does a flea live?", "A hundred days is what most of them reach.", "Moles dig."),
            ("how long does a flea live", "About one hundred days at best.", "Badgers sleep in setts."),
            ("What do ostriches eat?", "Ostriches eat plants, roots and seeds.", FLEA.replace("damp", "moist")),
            ("Where do whales sleep?", "Whales sleep near the surface.", "Crickets sing at night."),
        ]
    )

    def test_positives_of_one_anchor_never_meet(self) -> None:
        rows = rows_for(self.CONSTRUCTED, Recipe(base_model="m").complete())
        for seed in range(20):
            sampler = apart_sampler(rows.apart)(range(5), batch_size=5, drop_last=False, seed=seed)
            batches = list(sampler)
            assert sorted(row for batch in batches for row in batch) == [0, 1, 2, 3, 4]
            assert all(len({0, 1, 2} & set(batch)) <= 1 for batch in batches)
            assert all(not {0, 3} <= set(batch) for batch in batches), "a near copy of the positive is a negative"
            assert len(batches) == len(sampler)

    def test_the_trainers_own_sampler_would_let_them_meet(self) -> None:
        from datasets import Dataset
        from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

        rows = rows_for(self.CONSTRUCTED, Recipe(base_model="m").complete())
        data = Dataset.from_dict({name: list(column) for name, column in rows.columns.items()})
        met = [
            batch
            for seed in range(20)
            for batch in NoDuplicatesBatchSampler(data, batch_size=5, drop_last=False, seed=seed)
        ]
        assert any(len({1, 2} & set(batch)) == 2 for batch in met)

    @given(
        rows=st.lists(
            st.builds(
                Meets,
                st.frozensets(st.sampled_from("abcdefgh"), min_size=1, max_size=3),
                st.frozensets(st.sampled_from("abcdefgh"), max_size=3),
            ),
            max_size=30,
        ),
        size=st.integers(1, 8),
        data=st.data(),
    )
    def test_each_row_is_in_one_batch_and_none_beside_what_it_must_not_meet(
        self, rows: list[Meets], size: int, data: st.DataObject
    ) -> None:
        order = data.draw(st.permutations(range(len(rows))))
        batches = list(batches_apart(rows, order, size))
        assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
        assert all(1 <= len(batch) <= size for batch in batches)
        for batch in batches:
            for one, other in combinations(batch, 2):
                assert rows[one].chunks.isdisjoint(rows[other].positives)
                assert rows[other].chunks.isdisjoint(rows[one].positives)

    def test_every_epoch_has_the_batches_that_were_promised(self) -> None:
        rows = rows_for(self.CONSTRUCTED, Recipe(base_model="m").complete())
        sampler = apart_sampler(rows.apart)(range(5), batch_size=2, drop_last=False, seed=0)
        seen = []
        for epoch in range(10):
            sampler.set_epoch(epoch)
            seen.append(list(sampler))
            assert len(seen[-1]) == len(sampler)
        assert len({json.dumps(batches) for batches in seen}) > 1
        sampler.set_epoch(3)
        assert list(sampler) == seen[3]


POOL = {f"c{n}": f"The {animal} is an animal that people know well." for n, animal in enumerate(ANIMALS)}
TEST = HeldOut("build_1", {"q": "Tell me of the whale."}, {"q": "g"}, {"q": {"c3": 1, "c0": 0}}, POOL, 2)


class TestRanking:
    @pytest.mark.parametrize("kind", ["bi-encoder", "multi-vector", "sparse"])
    def test_kinds_that_embed_rank_as_their_own_similarity_does(self, kind: Kind, minilm: str, tmp_path: Path) -> None:
        import torch

        torch.manual_seed(0)
        model = load(kind, minilm)
        model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
        ranked = rank_with_all(TEST, ["q"], [str(tmp_path / "model")], silent)[str(tmp_path / "model")]
        expected = model.similarity(
            model.encode_query([TEST.queries["q"]]), model.encode_document(list(POOL.values()))
        )[0].tolist()
        found = [ranked.collection["q"][chunk] for chunk in POOL]
        assert found == pytest.approx(expected, abs=1e-4)
        assert set(ranked.labelled["q"]) == {"c3", "c0"}

    def test_a_reranker_orders_what_the_first_model_retrieves(
        self, minilm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = Recipe(kind="reranker", base_model=minilm, batch_size=2, max_steps=2)
        reranker = str(trainer.train(SPLIT, recipe, out=tmp_path / "reranker").model)
        found = rank_with_all(TEST, ["q"], [minilm, reranker], silent)
        assert list(found) == [minilm, reranker]
        assert set(found[reranker].collection["q"]) == set(found[minilm].collection["q"])
        read = load("reranker", reranker).predict([(TEST.queries["q"], POOL["c3"])])
        assert found[reranker].labelled["q"]["c3"] == pytest.approx(float(read[0]), abs=1e-4)
        monkeypatch.setattr(ranking, "RETRIEVED", 1)
        after = rank_with_all(TEST, ["q"], [minilm, reranker], silent)
        unread = ({"c3", "c0"} - set(after[reranker].collection["q"])).pop()
        assert after[reranker].places["q"][unread] == found[minilm].places["q"][unread], "it stays where it was"
        monkeypatch.undo()
        alone = rank_with_all(TEST, ["q"], [reranker], silent)[reranker]
        assert alone.reorders == "bm25"
        assert set(alone.collection["q"]) == set(rank_with_all(TEST, ["q"], ["bm25"], silent)["bm25"].collection["q"])
