"""What a model wants to read before a text is read in training, and stays with the model."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from store.errors import UsageError
from store.progress import silent
from tests.training import split_of
from train import trainer
from train.held_out import HeldOut
from train.kinds import load
from train.models import load_model
from train.prompts import Prompts, column_prompts, use_prompts
from train.ranking import rank_with_all
from train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

SPLIT = split_of([(f"{animal} {animal}?", f"the {animal}", f"no {animal}") for animal in ("flea", "newt")])


@pytest.mark.parametrize(
    ("base", "own", "wanted"),
    [
        ("intfloat/multilingual-e5-small", {}, Prompts("query: ", "passage: ")),
        ("/models/e5-base-v2", {"query": "", "document": ""}, Prompts("query: ", "passage: ")),
        ("intfloat/e5-base-v2", {"query": "q: ", "passage": "p: "}, Prompts("q: ", "p: ")),
        ("sentence-transformers/all-MiniLM-L6-v2", {"query": "", "document": ""}, Prompts("", "")),
        ("any", {"query": "find: "}, Prompts("find: ", "")),
    ],
)
def test_prompts_are_the_models_own_or_those_known_of_its_name(base: str, own: dict[str, str], wanted: Prompts) -> None:
    model = SimpleNamespace(prompts=dict(own), default_prompt_name=None)
    assert use_prompts(model, Recipe(base_model=base).complete()) == wanted
    assert model.prompts["query"] == wanted.query
    assert model.prompts["passage" if "passage" in own else "document"] == wanted.chunk
    told = Recipe(base_model=base, query_prompt="ask: ", chunk_prompt="").complete()
    assert use_prompts(model, told) == Prompts("ask: ", "")


def test_a_base_model_is_measured_with_the_prompts_that_it_wants_and_a_run_with_its_own(
    minilm: str, tmp_path: Path
) -> None:
    base = tmp_path / "e5-small"
    shutil.copytree(minilm, base)
    test = HeldOut("build_1", {"q": "which animal purrs?"}, {"q": "q"}, {"q": {"c": 1}}, {"c": "cats purr"}, 0)
    scores = rank_with_all(test, ["q"], [str(base)], silent)[str(base)].labelled["q"]
    model = load_model(minilm)
    wanted = model.similarity(model.encode("query: which animal purrs?"), model.encode("passage: cats purr"))
    assert scores == pytest.approx({"c": wanted.item()}, abs=1e-5)
    (base / "run.json").write_text('{"settings": {"kind": "bi-encoder"}, "settings_id": "run_1"}')
    assert not any(load("bi-encoder", str(base)).prompts.values())


def test_each_column_gets_the_prompt_of_its_side() -> None:
    columns = ["anchor", "positive", "negative_1", "label"]
    assert column_prompts(Prompts("q: ", "c: "), columns) == {"anchor": "q: ", "positive": "c: ", "negative_1": "c: "}
    assert column_prompts(Prompts("q: ", ""), columns) == {"anchor": "q: "}
    with pytest.raises(UsageError, match="as one, without prompts"):
        Recipe(kind="reranker", query_prompt="q: ").complete()


def test_prompts_change_what_is_learned_and_are_saved_with_the_model(minilm: str, tmp_path: Path) -> None:
    plain = trainer.train(SPLIT, Recipe(base_model=minilm, batch_size=2, max_steps=1), out=tmp_path / "plain").run
    recipe = Recipe(base_model=minilm, batch_size=2, max_steps=1, query_prompt="search_query: ")
    run = trainer.train(SPLIT, recipe, out=tmp_path / "model").run
    assert plain["prompts"] == {"query": "", "chunk": ""}
    assert run["prompts"] == {"query": "search_query: ", "chunk": ""}
    assert run["losses"] != plain["losses"]
    assert load_model(str(tmp_path / "model")).prompts["query"] == "search_query: "
    config = json.loads((tmp_path / "model" / "config_sentence_transformers.json").read_text())
    assert config["prompts"]["query"] == "search_query: "
