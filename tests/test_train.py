import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from commands.training import _evaluations
from store import encoders
from store.database import Store
from store.encoders import model_name
from store.errors import InvalidDataError, MissingError, UsageError, UserError
from store.progress import silent
from tests.labelled_store import fill
from tests.training import split_of
from train import run_folder, trainer, watcher
from train.advice import advice
from train.export import export
from train.models import load_model
from train.recipe import Recipe
from train.trainer import TrainResult
from train.triplets import build

pytestmark = pytest.mark.usefixtures("one_thread")

ANIMALS = ("flea", "badger", "ostrich", "whale", "mole", "cricket", "gecko", "hyena", "newt", "puffin", "sloth", "yak")
SPLIT = split_of([(f"{a} {a[::-1]}?", f"the {a} answers {a}", f"nothing about {a} {a}") for a in ANIMALS])


class Watched:
    """A progress that remembers, and can interrupt."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.interrupt_at = interrupt_at
        self.total: int | None = None
        self.done = 0
        self.notes: list[str] = []

    def start(self, description: str, total: int | None) -> None:
        self.total = total

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        self.notes.append(note)
        if self.done == self.interrupt_at:
            raise KeyboardInterrupt


def weights(result: TrainResult) -> str:
    return hashlib.sha256((result.model / "model.safetensors").read_bytes()).hexdigest()


def short_run(out: Path, minilm: str, **changes: object) -> TrainResult:
    progress = changes.pop("progress", silent)
    settings: dict[str, object] = {"batch_size": 4, "learning_rate": 1e-4, **changes}
    recipe = Recipe(base_model=minilm, **settings)
    return trainer.train(SPLIT, recipe, out=out, progress=progress)


def test_a_run_is_recorded_repeatable_and_not_repeated(
    minilm: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    watched = Watched()
    first = short_run(tmp_path / "first", minilm, progress=watched)
    assert capfd.readouterr() == ("", "")
    assert first.is_new
    assert (watched.total, watched.done) == (3, 3)
    assert watched.notes[-1].startswith("loss ")
    run = json.loads((tmp_path / "first" / "run.json").read_text())
    assert run == first.run
    assert (run["build_id"], run["steps"], run["settings"]["rows"], run["resumed"]) == ("build_1", 3, 12, False)
    assert [step for step, _ in run["losses"]] == [1, 2, 3]
    assert run["settings"]["base_model_is"] == model_name(minilm)
    assert (run["fixed"]["warmup_share"], run["fixed"]["scale"], run["fixed"]["weight_decay"]) == (0.1, 20.0, 0.0)
    assert run["made_from"] == []
    assert weights(first) != hashlib.sha256((Path(minilm) / "model.safetensors").read_bytes()).hexdigest()

    second = short_run(tmp_path / "second", minilm)
    assert weights(second) == weights(first)
    assert second.run["losses"] == run["losses"]

    untouched = Watched()
    again = short_run(tmp_path / "first", minilm, progress=untouched)
    assert not again.is_new
    assert again.run == first.run
    assert untouched.total is None
    with pytest.raises(UsageError, match="already holds a model that was trained otherwise"):
        short_run(tmp_path / "first", minilm, seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]

    model, base = load_model(str(first.model)), load_model(minilm)
    assert model.max_seq_length == base.max_seq_length
    card = (first.model / "README.md").read_text()
    assert f"`{model_name(minilm)}`" in card
    assert not any(text in card for column in SPLIT.labels.select(["anchor", "chunk"]) for text in column.to_pylist())


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_as_if_undisturbed(
    minilm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = short_run(tmp_path / "undisturbed", minilm, epochs=2)
    monkeypatch.setattr(watcher, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        short_run(tmp_path / "out", minilm, epochs=2, progress=Watched(interrupt_at=5))
    assert not (tmp_path / "out").exists()
    (kept,) = tmp_path.glob(".out.unfinished-*")
    (kept / "checkpoint-5").mkdir()  # as a kill in the middle of saving would leave it
    watched = Watched()
    resumed = short_run(tmp_path / "out", minilm, epochs=2, progress=watched)
    assert resumed.run["resumed"]
    assert (watched.total, watched.done) == (6, 6)
    assert weights(resumed) == weights(undisturbed)
    assert resumed.run["losses"] == undisturbed.run["losses"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "undisturbed"]
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def test_a_run_that_cannot_be_saved_keeps_its_checkpoint_and_is_saved_later(
    minilm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(watcher, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "write_model_card", full)
        with pytest.raises(UsageError, match="No space left on device"):
            short_run(tmp_path / "out", minilm)
    assert not (tmp_path / "out").exists()
    saved = short_run(tmp_path / "out", minilm)
    assert saved.run["resumed"]
    assert len(saved.run["losses"]) == saved.run["steps"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / f".out.unfinished-{saved.run['settings_id']}" / "checkpoint-3").mkdir(parents=True)
    assert not short_run(tmp_path / "out", minilm).is_new
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "what a kill after the last step left"


def test_so_many_batches_make_one_step(minilm: str, tmp_path: Path) -> None:
    watched = Watched()
    run = short_run(tmp_path / "out", minilm, batch_size=2, accumulate=2, progress=watched).run
    assert (watched.total, watched.done, run["steps"]) == (3, 3, 3), "six batches"
    assert [step for step, _ in run["losses"]] == [1, 2, 3]
    assert run["settings"]["accumulate"] == 2


def test_the_next_command_evaluates_what_was_trained() -> None:
    assert _evaluations(["answers"], "bi-encoder", None, "", {}) == ["uncited evaluate --policy answers"]
    assert _evaluations(["a", "b"], "sparse", "build_1", "my models/joint", {"b": "my models/b"}) == [
        "uncited evaluate --policy a --kind sparse --model 'my models/joint' --build build_1",
        "uncited evaluate --policy b --kind sparse --model 'my models/joint' --build build_1 --with 'my models/b'",
    ]


def test_an_early_interruption_leaves_nothing(minilm: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        short_run(tmp_path / "out", minilm, progress=Watched(interrupt_at=1))
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_ends_in_advice(minilm: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the loss became nan at step") as error:
        short_run(tmp_path / "out", minilm, learning_rate=1e30)
    assert error.value.hint == "uncited train --policy NAME --learning-rate 1e+29"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_ends_in_advice(
    minilm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(trainer, "_train", fail)
    with pytest.raises(UserError, match=r"memory ran out .* with batches of 4") as error:
        short_run(tmp_path / "out", minilm)
    assert error.value.hint == "uncited train --policy NAME --loss cached-multiple-negatives --mini-batch-size 2"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        (
            Recipe(loss="cached-multiple-negatives", batch_size=512),
            "--loss cached-multiple-negatives --mini-batch-size 16",
        ),
        (Recipe(loss="cached-multiple-negatives", batch_size=8, mini_batch_size=1), "--batch-size 4 --accumulate 2"),
        (Recipe(kind="reranker", loss="lambda", batch_size=8, accumulate=3), "--batch-size 4 --accumulate 6"),
        (Recipe(loss="triplet", batch_size=1), "--base-model SMALLER_MODEL"),
    ],
)
def test_what_needs_less_memory_is_what_the_loss_has(recipe: Recipe, options: str) -> None:
    with pytest.raises(UserError) as error, advice(recipe.complete(), Path("out")):
        raise MemoryError
    assert error.value.hint == f"uncited train --policy NAME {options}"


def test_other_faults_stay_what_they_are(minilm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(trainer, "_train", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        short_run(tmp_path / "out", minilm)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no model at 'nowhere/at-all'") as error:
        short_run(tmp_path / "out", "nowhere/at-all")
    assert error.value.hint
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    with pytest.raises(InvalidDataError, match="broken cannot be read as a model"):
        short_run(tmp_path / "out", str(tmp_path / "broken"))
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


@pytest.mark.parametrize(("cached", "at_hub", "alone"), [("a1", "b2", True), (None, "b2", False), (None, None, True)])
def test_the_revision_that_is_recorded_is_the_one_that_is_loaded(
    cached: str | None, at_hub: str | None, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "_cached_revision", lambda _: cached)
    monkeypatch.setattr(encoders, "_hub_revision", lambda _: at_hub)
    asked = {}
    monkeypatch.setattr("sentence_transformers.SparseEncoder", lambda name, **options: asked.update(options))
    load_model("org/base", "SparseEncoder")
    assert asked == {"local_files_only": alone}
    revision = cached or at_hub
    assert model_name("org/base") == (f"org/base@{revision}" if revision else "org/base")


def test_bad_arguments_and_places_are_refused_before_anything_is_loaded(minilm: str, tmp_path: Path) -> None:
    for change in ({"batch_size": 0}, {"epochs": 0}, {"learning_rate": -1}, {"max_steps": 0}):
        with pytest.raises(UsageError, match="above zero"):
            short_run(tmp_path / "out", minilm, **change)
    with pytest.raises(MissingError, match="no triplets"):
        trainer.train(split_of([]), Recipe(base_model=minilm), out=tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="mine already holds something else"):
        short_run(tmp_path / "mine", minilm)
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError):
            short_run(place, minilm)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_sentence_transformers_trains_on_an_export_without_a_line_of_conversion(
    store: Store, minilm: str, tmp_path: Path
) -> None:
    from datasets import load_dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    built = build(store, fill(store, 6)).build
    model = SentenceTransformer(minilm, device="cpu")
    for kind, format, file in (("json", "triplet", "train.jsonl"), ("parquet", "parquet", "train.parquet")):
        export(store, built, tmp_path / format, format=format)
        data = load_dataset(kind, data_files=str(tmp_path / format / file), cache_dir=str(tmp_path / "cache"))
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path / kind),
            per_device_train_batch_size=2,
            max_steps=2,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=data["train"], loss=MultipleNegativesRankingLoss(model)
        )
        assert trainer.train().global_step == 2
