"""Each format as the tool that it is for reads it; those too large to install beside us are in the slow tests."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import get_args

import pytest

from store.builds import Build, build_labels, build_triplets
from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.ids import anchor_id, chunk_id
from store.policies import Label, add_policy
from store.triage import add_triage_scores
from tests.labelled_store import POLICY, distinct, log, pair, question, review_pairs
from train.export import export
from train.exports import FormatName
from train.exports.formats import FORMATS
from train.triplets import build

GRADED = replace(
    POLICY,
    scale="ordered",
    labels=(
        Label("3", "it answers", "positive"),
        Label("2", "it answers in part", "positive"),
        Label("1", "it is about the same", "negative"),
        Label("0", "it is about something else", "negative"),
    ),
    signals={"cited": "3"},
)
QUERIES = 8
LABELS = ("3", "2", "1", "0", "0", "1", "0")  # of the chunks of each query


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Build]]:
    """A build of queries with two positives and five negatives each, and one chunk more that nobody has judged."""
    with Store(tmp_path_factory.mktemp("graded") / "uncited.duckdb") as store:
        policy, _ = add_policy(store, GRADED)
        for number in range(QUERIES):
            chunks = [distinct(f"c{place}of", number) for place in range(len(LABELS) + 1)]
            log(store, question(number), chunks, cited=chunks[:1])
            given = zip(chunks, LABELS, strict=False)
            review_pairs(store, policy, {pair(question(number), chunk): label for chunk, label in given})
        yield store, build(store, policy).build


PAGE = Path(__file__).resolve().parents[1] / "docs" / "exports.md"


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text("utf-8").split("\n")[:-1]]


def label_of(store: Store, made: Build) -> dict[tuple[str, str], str]:
    return {(row["anchor"], row["chunk"]): row["label"] for row in build_labels(store, made.build_id).to_pylist()}


def test_every_format_that_can_be_asked_for_is_there_and_documented() -> None:
    assert set(get_args(FormatName)) == set(FORMATS)
    assert [name for name in FORMATS if f"`{name}`" not in PAGE.read_text("utf-8")] == []


# ------------------------------------------------------------------------------------------- sentence-transformers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "scores", "kind", "loss"),
    [
        ("triplet", None, "SentenceTransformer", "MultipleNegativesRankingLoss"),
        ("triplet", "labels", "SentenceTransformer", "MarginMSELoss"),
        ("n-tuple", None, "SentenceTransformer", "MultipleNegativesRankingLoss"),
        ("n-tuple", "labels", "SentenceTransformer", "MarginMSELoss"),
        ("n-tuple", "labels", "SentenceTransformer", "DistillKLDivLoss"),
        ("labeled-pair", None, "SentenceTransformer", "ContrastiveLoss"),
        ("labeled-pair", "labels", "SentenceTransformer", "CoSENTLoss"),
        ("labeled-pair", None, "CrossEncoder", "BinaryCrossEntropyLoss"),
        ("labeled-list", None, "CrossEncoder", "LambdaLoss"),
        ("labeled-list", "labels", "CrossEncoder", "ListNetLoss"),
    ],
)
def test_a_loss_takes_the_shape_made_for_it(
    graded: tuple[Store, Build], minilm: str, tmp_path: Path, format: FormatName, scores: str, kind: str, loss: str
) -> None:
    import sentence_transformers
    from datasets import load_dataset

    export(*graded, tmp_path / "out", format=format, scores=scores)
    rows = load_dataset("json", data_files=str(tmp_path / "out" / "train.jsonl"), cache_dir=str(tmp_path / "cache"))
    model = getattr(sentence_transformers, kind)(minilm, device="cpu", **({"num_labels": 1} if kind[0] == "C" else {}))
    module = "cross_encoder" if kind == "CrossEncoder" else "sentence_transformer"
    arguments = getattr(sentence_transformers, f"{kind}TrainingArguments")(
        output_dir=str(tmp_path / "model"),
        per_device_train_batch_size=2,
        max_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    losses = __import__(f"sentence_transformers.{module}.losses").__dict__[module].losses
    trainer = getattr(sentence_transformers, f"{kind}Trainer")(
        model=model, args=arguments, train_dataset=rows["train"], loss=getattr(losses, loss)(model)
    )
    assert trainer.train().global_step == 1


def test_the_shapes_hold_every_label_and_every_negative_once_at_least(
    graded: tuple[Store, Build], tmp_path: Path
) -> None:
    store, made = graded
    labels = label_of(store, made)
    export(store, made, tmp_path / "pair", format="labeled-pair")
    rows = lines(tmp_path / "pair" / "train.jsonl") + lines(tmp_path / "pair" / "test.jsonl")
    assert {(row["anchor"], row["chunk"]): row["label"] for row in rows} == {
        key: int(label in "23") for key, label in labels.items()
    }
    export(store, made, tmp_path / "list", format="labeled-list", scores="labels")
    found = lines(tmp_path / "list" / "train.jsonl") + lines(tmp_path / "list" / "test.jsonl")
    assert {
        (row["anchor"], chunk): score
        for row in found
        for chunk, score in zip(row["chunks"], row["scores"], strict=True)
    } == {key: int(label) / 3 for key, label in labels.items()}
    manifest = export(store, made, tmp_path / "tuple", format="n-tuple", negatives=2)
    for split in ("train", "test"):
        met = Counter()
        for row in lines(tmp_path / "tuple" / f"{split}.jsonl"):
            assert list(row) == ["anchor", "positive", "negative_1", "negative_2"]
            assert row["negative_1"] != row["negative_2"]
            met.update((row["anchor"], row["positive"], row[f"negative_{i}"]) for i in (1, 2))
        triplets = build_triplets(store, made.build_id, split).to_pylist()
        assert met.keys() == {(t["anchor"], t["positive"], t["negative"]) for t in triplets}
        assert max(met.values()) <= 2
    assert "positives with fewer than 2 negatives" not in {entry["what"] for entry in manifest.body["left_out"]}
    manifest = export(store, made, tmp_path / "all", format="n-tuple", negatives=5)
    assert len(lines(tmp_path / "all" / "train.jsonl")) + len(lines(tmp_path / "all" / "test.jsonl")) == 2 * QUERIES
    with pytest.raises(MissingError, match="positives with fewer than 6 negatives"):
        export(store, made, tmp_path / "none", format="n-tuple", negatives=6)


def test_a_model_gives_scores_and_pairs_that_it_has_not_scored_are_left_out(
    graded: tuple[Store, Build], tmp_path: Path
) -> None:
    store, made = graded
    with pytest.raises(MissingError, match="no model with scores by the name 'teacher'; no model has scored"):
        export(store, made, tmp_path / "early", scores="teacher")
    keys = [row["pair_id"] for row in build_labels(store, made.build_id).to_pylist()]
    scored = {key: number / 100 for number, key in enumerate(keys[1:])}
    add_triage_scores(store, "teacher, cosine", scored)
    manifest = export(store, made, tmp_path / "out", format="labeled-pair", scores="teacher")
    rows = lines(tmp_path / "out" / "train.jsonl") + lines(tmp_path / "out" / "test.jsonl")
    assert {pair(row["anchor"], row["chunk"]): row["score"] for row in rows} == scored
    assert manifest.body["scores"] == {"by": "model", "model": "teacher, cosine"}
    assert {"what": "pairs without a score", "count": 1} in manifest.body["left_out"]
    with pytest.raises(UsageError, match="has no place for scores; these have: triplet"):
        export(store, made, tmp_path / "no", format="beir", scores="teacher")
    with pytest.raises(UsageError, match="--negatives is for rows of a fixed width"):
        export(store, made, tmp_path / "no", format="csv", negatives=2)


# ------------------------------------------------------------------------------------------- evaluation


def test_ir_measures_reads_the_grades_and_finds_no_label_for_what_nobody_judged(
    graded: tuple[Store, Build], tmp_path: Path
) -> None:
    import ir_measures

    store, made = graded
    export(store, made, tmp_path / "out", format="beir")
    qrels = [
        q for split in ("train", "test") for q in ir_measures.read_trec_qrels(str(tmp_path / f"out/qrels/{split}.trec"))
    ]
    expected = {(anchor_id(a), chunk_id(c)): int(label) for (a, c), label in label_of(store, made).items()}
    assert {(q.query_id, q.doc_id): q.relevance for q in qrels} == expected
    assert len(qrels) == QUERIES * len(LABELS)  # and none for the chunk that nobody judged
    ideal = [ir_measures.ScoredDoc(q.query_id, q.doc_id, q.relevance) for q in qrels]
    assert ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, ideal) == {ir_measures.nDCG @ 10: 1.0}


def test_without_a_scale_the_grades_are_the_roles(store: Store, tmp_path: Path) -> None:
    from tests.labelled_store import fill

    manifest = export(store, build(store, fill(store, 4)).build, tmp_path / "out", format="beir")
    assert manifest.body["policy"]["grades"] == {"yes": 1, "no": 0}
    rows = [line.split("\t") for line in (tmp_path / "out/qrels/train.tsv").read_text().splitlines()[1:]]
    assert Counter(grade for _, _, grade in rows) == {"1": len(rows) // 4, "0": 3 * len(rows) // 4}


# ------------------------------------------------------------------------------------------- what others read


def test_datasets_loads_the_folder_from_disk(graded: tuple[Store, Build], tmp_path: Path) -> None:
    from datasets import load_from_disk

    store, made = graded
    export(store, made, tmp_path / "out", format="datasets")
    loaded = load_from_disk(str(tmp_path / "out"))
    for split in ("train", "test"):
        expected = build_triplets(store, made.build_id, split).select(["anchor", "positive", "negative"])
        assert loaded[split].to_list() == expected.to_pylist()
        assert loaded[split].map(lambda row: {"n": len(row["anchor"])}).column_names[-1] == "n"


def test_the_lines_of_the_docs_load_what_is_exported(
    graded: tuple[Store, Build], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    store, made = graded
    code = re.search(r"```python\n(from datasets import .*?)```", PAGE.read_text("utf-8"), re.S)
    assert code
    shown = re.findall(r"^# --format (\S+)\n(.+?)\n(?=#|$)", code[1] + "\n", re.S | re.M)
    assert [name for name, _ in shown] == ["triplet", "msmarco", "csv", "datasets"]
    expected = build_triplets(store, made.build_id, "train").select(["anchor", "positive", "negative"]).to_pylist()
    for name, statement in shown:
        export(store, made, tmp_path / "out", format=name)
        loaded: dict = {}
        exec(f"{code[1].splitlines()[0]}\n{statement}", loaded)
        assert loaded["dataset"]["train"].to_list() == expected, name
        (tmp_path / "out").rename(tmp_path / name)


def test_tevatron_2_finds_the_documents_of_each_query_by_the_steps_of_its_train_dataset(
    graded: tuple[Store, Build], tmp_path: Path
) -> None:
    """Tevatron 2 is in no package index. Its TrainDataset and EncodeDataset read these fields, in this manner."""
    from datasets import load_dataset

    for format in ("tevatron", "grouped"):
        export(*graded, tmp_path / format, format=format)
    grouped = {row["anchor"]: row for row in lines(tmp_path / "grouped" / "train.jsonl")}
    train, corpus = (
        load_dataset(
            "json", data_files=str(tmp_path / "tevatron" / f"{name}.jsonl"), split="train", cache_dir=str(tmp_path)
        )
        for name in ("train", "corpus")
    )
    assert set(corpus.column_names) == {"docid", "text"}, "a title would be put before the text"
    assert set(train.column_names).isdisjoint({"positive_passages", "query"}), "by these it knows the older format"
    place = {docid: number for number, docid in enumerate(corpus["docid"])}
    assert list(place) == [chunk_id(text) for text in corpus["text"]]
    assert len(train) == len(grouped)
    for row in train:
        assert row["query_id"] == anchor_id(row["query_text"])
        for side in ("positive", "negative"):
            found = [corpus[place[docid]] for docid in row[f"{side}_document_ids"]]
            assert [document["docid"] for document in found] == row[f"{side}_document_ids"]
            assert [document["text"] for document in found] == grouped[row["query_text"]][side[:3]]


@pytest.mark.parametrize(("least", "hint"), [(256, "uncited review next"), (None, "--test-share 0")])
def test_cohere_takes_256_queries_or_more_and_the_hint_is_one_that_helps(
    graded: tuple[Store, Build], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int | None, hint: str
) -> None:
    store, made = graded
    splits = store.rows(
        "SELECT split, count(DISTINCT anchor_id) AS queries FROM build_labels JOIN pairs USING (pair_id)"
        " WHERE build_id = ? GROUP BY split",
        [made.build_id],
    )
    queries = {row["split"]: int(str(row["queries"])) for row in splits}
    assert queries["test"]
    least = least or queries["train"] + 1  # those of the test split would do
    monkeypatch.setattr("train.exports.grouped.COHERE_QUERIES", least)
    with pytest.raises(InvalidDataError, match=f"Cohere takes {least} or more") as refused:
        export(store, made, tmp_path / "out", format="cohere")
    assert hint in str(refused.value.hint)
    assert not list(tmp_path.iterdir())


def test_cohere_gets_what_its_documentation_asks_for(
    graded: tuple[Store, Build], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.exports.grouped.COHERE_QUERIES", 4)
    export(*graded, tmp_path / "out", format="cohere")
    for row in lines(tmp_path / "out" / "train.jsonl"):
        assert list(row) == ["query", "relevant_passages", "hard_negatives"]
        assert len(row["relevant_passages"]) == 2
        assert len(row["hard_negatives"]) == 5
        assert not set(row["relevant_passages"]) & set(row["hard_negatives"])


def test_texts_and_numbers_belong_together_for_colbert(graded: tuple[Store, Build], tmp_path: Path) -> None:
    store, made = graded
    grouped = {}
    export(store, made, tmp_path / "grouped", format="grouped")
    for row in lines(tmp_path / "grouped" / "train.jsonl"):
        grouped[row["anchor"]] = ({*row["pos"]}, {*row["neg"]})
    export(store, made, tmp_path / "c", format="colbert", negatives=5, scores="labels")
    queries, passages = (
        dict(line.split("\t") for line in (tmp_path / "c" / f"{name}.tsv").read_text("utf-8").splitlines())
        for name in ("queries", "collection")
    )
    for row in (tmp_path / "c" / "triples.train.jsonl").read_text().splitlines():
        query, (positive, score), *negatives = json.loads(row)
        pos, neg = grouped[queries[str(query)]]
        assert passages[str(positive)] in pos
        assert score in (1.0, 2 / 3)
        assert {passages[str(number)] for number, _ in negatives} == neg


# ------------------------------------------------------------------------------------------- tools of others' own

LOADERS = {
    "beir": "beir==2.2.0",
    "cohere": "cohere==4.57",
    "colbert": "colbert-ai==0.2.22",
    "flagembedding": "FlagEmbedding==1.4.2",
    "llamaindex": "llama-index-finetuning==0.4.2",
    "pylate": "pylate==1.6.0",
    "tevatron": "tevatron==0.1.0",
}


@pytest.fixture(scope="module")
def loaders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tools without what they need: some of that fits no longer to ours. Their loaders are read file by file."""
    folder = tmp_path_factory.mktemp("loaders")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *LOADERS.values()]
    done = subprocess.run([*command, "--disable-pip-version-check"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the tools cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return folder


def module(file: Path, **stubs: object) -> ModuleType:
    """Run one file of a package, without what it imports from its own package; `stubs` stand for that."""
    own = ("from .", "from tevatron", "from llama_index", "from colbert", "from utility", "import ujson")
    source = "\n".join(line for line in file.read_text("utf-8").splitlines() if not line.startswith(own))
    made = ModuleType(file.stem)
    made.__dict__.update(stubs)
    sys.modules[file.stem] = made
    exec(compile(source, str(file), "exec"), made.__dict__)
    return made


@pytest.mark.slow
def test_their_own_loaders_read_what_is_exported(
    graded: tuple[Store, Build], loaders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.exports.grouped.COHERE_QUERIES", 4)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    store, made = graded
    of_texts = ("beir", "llamaindex", "tevatron-passages", "msmarco", "cohere", "grouped")
    for format in (*of_texts, "flagembedding", "pylate", "colbert"):
        scores = "labels" if format in ("flagembedding", "pylate", "colbert") else None
        export(store, made, tmp_path / format, format=format, scores=scores)
    grouped = {row["anchor"]: row for row in lines(tmp_path / "grouped" / "train.jsonl")}
    _beir(loaders, tmp_path / "beir", grouped)
    _flagembedding(loaders, tmp_path / "flagembedding", grouped)
    _llamaindex(loaders, tmp_path / "llamaindex", grouped)
    _pylate(loaders, tmp_path / "pylate", grouped)
    _tevatron(loaders, tmp_path / "tevatron-passages", grouped)
    _colbert(loaders, tmp_path / "colbert", grouped)
    _cohere(loaders, tmp_path / "cohere", grouped)
    _msmarco(loaders, tmp_path / "msmarco", build_triplets(store, made.build_id, "train").to_pylist())


def _beir(loaders: Path, folder: Path, grouped: Mapping[str, dict]) -> None:
    loader = module(loaders / "beir/datasets/data_loader.py").GenericDataLoader(str(folder))
    corpus, queries, qrels = loader.load(split="train")
    assert set(queries.values()) == set(grouped)
    for key, judged in qrels.items():
        positives = {corpus[doc]["text"] for doc, grade in judged.items() if grade >= 2}
        assert positives == set(grouped[queries[key]]["pos"])


def _flagembedding(loaders: Path, folder: Path, grouped: Mapping[str, dict]) -> None:
    file = loaders / "FlagEmbedding/abc/finetune/embedder/AbsDataset.py"
    stubs = {"AbsEmbedderDataArguments": object, "AbsEmbedderTrainingArguments": object}
    options = SimpleNamespace(
        train_data=[str(folder / "train.jsonl")],
        cache_path=str(folder.parent / "cache"),
        shuffle_ratio=0.0,
        max_example_num_per_dataset=1000,
        knowledge_distillation=True,
        train_group_size=4,
        query_instruction_for_retrieval=None,
        passage_instruction_for_retrieval=None,
    )
    found = module(file, **stubs).AbsEmbedderTrainDataset(options, tokenizer=None)
    assert len(found) == len(grouped)
    query, passages, scores = found[0]
    assert passages[0] in grouped[query]["pos"]
    assert set(passages[1:]) <= set(grouped[query]["neg"])
    assert scores[0] >= 2 / 3 > max(scores[1:])


def _llamaindex(loaders: Path, folder: Path, grouped: Mapping[str, dict]) -> None:
    from pydantic import BaseModel

    file = loaders / "llama_index/finetuning/embeddings/common.py"
    found = module(file, BaseModel=BaseModel, LLM=object, MetadataMode=object, TextNode=object)
    loaded = found.EmbeddingQAFinetuneDataset.from_json(str(folder / "train.json"))
    assert {query: {loaded.corpus[doc] for doc in docs} for query, docs in loaded.query_docid_pairs} == {
        anchor: set(row["pos"]) for anchor, row in grouped.items()
    }
    assert len(loaded.corpus) == len(grouped) * len(LABELS)


def _pylate(loaders: Path, folder: Path, grouped: Mapping[str, dict]) -> None:
    from datasets import load_dataset

    processing = module(loaders / "pylate/utils/processing.py").KDProcessing
    train, queries, documents = (
        load_dataset("json", data_files=str(folder / f"{name}.jsonl"), split="train")
        for name in ("train", "queries", "documents")
    )
    positives: dict[str, set[str]] = {anchor: set() for anchor in grouped}
    train.set_transform(processing(queries=queries, documents=documents).transform)
    for row in train:
        positives[row["query"]].add(row["documents"][0])
        assert set(row["documents"][1:]) <= set(grouped[row["query"]]["neg"])
        assert len(row["scores"]) == len(row["documents"]) == 4
        assert row["scores"][0] > max(row["scores"][1:])
    assert positives == {anchor: set(row["pos"]) for anchor, row in grouped.items()}


def _tevatron(loaders: Path, folder: Path, grouped: Mapping[str, dict]) -> None:
    class Words:
        def encode(self, text: str, **_: object) -> str:
            return text

    parts = {
        name: getattr(module(loaders / "tevatron/datasets/preprocessor.py"), name)
        for name in ("TrainPreProcessor", "QueryPreProcessor", "CorpusPreProcessor")
    }
    options = module(loaders / "tevatron/arguments.py").DataArguments(dataset_name=f"./{folder.name}")
    options.dataset_proc_num = None
    found = module(loaders / "tevatron/datasets/dataset.py", DataArguments=object, **parts)
    rows = found.HFTrainDataset(Words(), options, cache_dir=None).process()
    assert {row["query"]: (row["positives"], row["negatives"]) for row in rows} == {
        anchor: (row["pos"], row["neg"]) for anchor, row in grouped.items()
    }


def _colbert(loaders: Path, folder: Path, grouped: Mapping[str, dict]) -> None:
    said: dict[str, object] = {"print_message": lambda *_: None}
    reading = module(loaders / "colbert/evaluation/loaders.py", **said)
    examples = module(loaders / "colbert/data/examples.py", ujson=json, **said).Examples
    queries = reading.load_queries(str(folder / "queries.tsv"))
    passages = reading.load_collection(str(folder / "collection.tsv"))
    triples = examples.cast(str(folder / "triples.train.jsonl"), nway=4).tolist()
    found = {(queries[query], passages[first]) for query, (first, _), *_ in triples}
    assert found == {(anchor, positive) for anchor, row in grouped.items() for positive in row["pos"]}
    for query, *scored in triples:
        (_, *negatives), (score, *others) = zip(*scored, strict=True)
        assert len(negatives) == 3
        assert {passages[number] for number in negatives} <= set(grouped[queries[query]]["neg"])
        assert score > max(others)


def _cohere(loaders: Path, folder: Path, grouped: Mapping[str, dict]) -> None:
    from pydantic import BaseModel

    file = loaders / "llama_index/finetuning/rerankers/dataset_gen.py"
    stubs = {"BaseModel": BaseModel, "EmbeddingQAFinetuneDataset": object, "get_top_k_embeddings": None}
    row = module(file, **stubs).CohereRerankerFinetuneDataset
    sent = module(loaders / "cohere/custom_model_dataset.py").JsonlDataset(str(folder / "train.jsonl"))
    found = [row.model_validate_json(line, strict=True) for line in sent.get_train_data()]
    assert {one.query: (one.relevant_passages, one.hard_negatives) for one in found} == {
        anchor: (row["pos"], row["neg"]) for anchor, row in grouped.items()
    }
    assert [json.loads(one.to_jsonl()) for one in found] == lines(folder / "train.jsonl")


def _msmarco(loaders: Path, folder: Path, triplets: list[dict]) -> None:
    def texts(_query: object, _passage: object, *columns: list[str]) -> list[tuple[str, ...]]:
        return [*zip(*columns[:3], strict=True)]

    stubs = {"QueryTokenizer": str, "DocTokenizer": str, "tensorize_triples": texts}
    options = SimpleNamespace(
        triples=str(folder / "triples.train.tsv"), bsize=1, accumsteps=1, query_maxlen=32, doc_maxlen=180
    )
    batches = module(loaders / "colbert/training/eager_batcher.py", **stubs).EagerBatcher(options)
    assert [row for batch in islice(batches, len(triplets)) for row in batch] == [
        (row["anchor"], row["positive"], row["negative"]) for row in triplets
    ]
    assert not batches.reader.read()
