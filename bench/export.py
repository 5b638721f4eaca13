"""Measure exports against a plain pandas script: `python bench/export.py [--triplets N] [--rounds R] [--json]`.

A build of N triplets is put into a store. Then the export and the script write both splits of it as JSON Lines, each in
a process of its own, in turns; that they wrote the same rows is checked. Seconds begin after the imports of neither and
end with the files closed. The script reads whole tables, joins them and lets pandas write; it makes no manifest and no
hashes.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

# In the place of this folder, whose argilla.py would hide the package of that name.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import duckdb  # noqa: E402, TID251
import pyarrow as pa  # noqa: E402

from store.builds import add_build, latest_build  # noqa: E402
from store.database import Store  # noqa: E402
from store.ids import anchor_id, chunk_id, pair_id  # noqa: E402
from store.policies import Label, Policy, add_policy  # noqa: E402
from train.export import export  # noqa: E402

NEGATIVES = 16  # of each anchor
WORDS_A_CHUNK = 90
POLICY = Policy(
    name="helps",
    question="Does the chunk help to do what the query asks?",
    anchor="a query",
    candidate="a chunk of a manual",
    labels=(Label("helps", "it says how", "positive"), Label("off", "it does not", "negative")),
    signals={"cited": "helps"},
)


def fill(file: Path, triplets: int) -> None:
    """Put a build of `triplets` triplets into a new store: a collection of chunks that the anchors share."""
    import numpy as np

    rng = np.random.default_rng(0)
    anchors = triplets // NEGATIVES
    chunks = max(NEGATIVES + 1, triplets // 5)
    vocabulary = np.array([f"w{number:x}" for number in range(20_000)], dtype=object)

    def texts(count: int, words: int) -> list[str]:
        return [
            f"{number} " + " ".join(row)
            for number, row in enumerate(vocabulary[rng.integers(0, len(vocabulary), (count, words))])
        ]

    with Store(file) as store:
        policy, _ = add_policy(store, POLICY)
        queries, passages = texts(anchors, 9), texts(chunks, WORDS_A_CHUNK)
        query_ids, passage_ids = [anchor_id(text) for text in queries], [chunk_id(text) for text in passages]
        store.insert("anchors", pa.table({"anchor_id": query_ids, "text": queries}))
        store.append("chunks", pa.table({"chunk_id": passage_ids, "text": passages, "kind": ["text"] * chunks}))
        chosen = np.stack([rng.choice(chunks, NEGATIVES + 1, replace=False) for _ in range(anchors)])
        splits = ["test" if number % 10 < 3 else "train" for number in range(anchors)]
        pairs = [(query_ids[i], passage_ids[j]) for i in range(anchors) for j in chosen[i]]
        keys = [pair_id(*pair) for pair in pairs]
        store.append("pairs", pa.table([keys, *zip(*pairs, strict=True)], ["pair_id", "anchor_id", "chunk_id"]))
        of_pair = [i for i in range(anchors) for _ in range(NEGATIVES + 1)]
        first = [place == 0 for _ in range(anchors) for place in range(NEGATIVES + 1)]
        labels = pa.table(
            {
                "pair_id": keys,
                "split": [splits[i] for i in of_pair],
                "split_group": [query_ids[i] for i in of_pair],
                "label": ["helps" if positive else "off" for positive in first],
                "role": ["positive" if positive else "negative" for positive in first],
                "source": ["human"] * len(keys),
                "propagated_from": pa.nulls(len(keys), pa.string()),
            }
        )
        made = pa.table(
            {
                "split": [splits[i] for i in range(anchors) for _ in range(NEGATIVES)],
                "anchor_id": [query_ids[i] for i in range(anchors) for _ in range(NEGATIVES)],
                "positive_id": [passage_ids[chosen[i][0]] for i in range(anchors) for _ in range(NEGATIVES)],
                "negative_id": [passage_ids[j] for i in range(anchors) for j in chosen[i][1:]],
            }
        )
        settings = {"policy_version": policy.version, "judges": {}, "reviewers": {"ann": len(keys)}, "counts": {}}
        add_build(store, policy.policy_id, settings, labels, made)


def with_pandas(file: Path, out: Path) -> None:
    """Write the train and the test split as a plain script would: read whole tables, join them, let pandas write."""
    out.mkdir()
    with duckdb.connect(str(file), read_only=True) as connection:
        triplets = connection.sql("FROM triplets ORDER BY triplet_id").df()
        anchors = connection.sql("SELECT anchor_id, text AS anchor FROM anchors").df()
        chunks = connection.sql("SELECT chunk_id, text FROM chunks").df()
    for side in ("positive", "negative"):
        named = chunks.rename(columns={"chunk_id": f"{side}_id", "text": side})
        triplets = triplets.merge(named, on=f"{side}_id")
    triplets = triplets.merge(anchors, on="anchor_id")
    for split in ("train", "test"):
        rows = triplets.loc[triplets["split"] == split, ["anchor", "positive", "negative"]]
        rows.to_json(out / f"{split}.jsonl", orient="records", lines=True, force_ascii=False)


def with_uncited(file: Path, out: Path) -> None:
    """Write the same with the product: manifest and hashes included."""
    with Store(file) as store:
        export(store, latest_build(store, POLICY.name), out)


def measured(way: str, file: Path, out: Path) -> dict[str, float]:
    """Run one way in a process of its own; return seconds, CPU seconds and the most memory in MiB."""
    found: dict[str, float] = json.loads(_in_a_process(way, file, out))
    return found


def _in_a_process(way: str, file: Path, out: Path, triplets: int = 0) -> str:
    command = [sys.executable, __file__, "--way", way, "--file", str(file), "--out", str(out)]
    return subprocess.run([*command, "--triplets", str(triplets)], check=True, stdout=subprocess.PIPE, text=True).stdout


def _alone(way: str, file: Path, out: Path) -> None:
    started = time.perf_counter()
    {"uncited": with_uncited, "pandas": with_pandas}[way](file, out)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}
    print(json.dumps(found))


def compare(triplets: int, rounds: int) -> dict[str, object]:
    """Measure both ways in turns, and check that they write the same rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "bench.duckdb"
        # In a process of its own: what a parent holds when it starts a child counts towards the child's peak.
        _in_a_process("fill", file, folder, triplets)
        runs: dict[str, list[dict[str, float]]] = {"uncited": [], "pandas": []}
        for _ in range(rounds):
            for way, found in runs.items():
                shutil.rmtree(folder / way, ignore_errors=True)
                found.append(measured(way, file, folder / way))
        rows = [_rows(folder / way / "train.jsonl") for way in runs]
    medians = {way: {name: median(run[name] for run in found) for name in found[0]} for way, found in runs.items()}
    ours, theirs = medians["uncited"], medians["pandas"]
    return {
        "triplets": triplets,
        **medians,
        "ratio_seconds": theirs["seconds"] / ours["seconds"],
        "ratio_cpu": theirs["cpu_seconds"] / ours["cpu_seconds"],
        "same_rows": rows[0] == rows[1],
    }


def _rows(file: Path) -> int:
    """Return a hash of all rows, whatever their order and the white space in them."""
    total = 0
    with file.open(encoding="utf-8") as opened:
        for line in opened:
            total ^= hash(tuple(json.loads(line).values()))
    return total


def main() -> None:
    """Run the benchmark, or one way of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triplets", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way == "fill":
        fill(given.file, given.triplets)
        return
    if given.way:
        _alone(given.way, given.file, given.out)
        return
    found = compare(given.triplets, given.rounds)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{given.triplets:,} triplets; the same rows: {'yes' if found['same_rows'] else 'NO'}")
    for way in ("uncited", "pandas"):
        run = found[way]
        assert isinstance(run, dict)
        print(f"  {way:8} {run['seconds']:6.1f} s, {run['cpu_seconds']:6.1f} CPU-s, {run['peak_mib']:6.0f} MiB at most")
    print(f"  ratio: {found['ratio_seconds']:.1f} by the clock, {found['ratio_cpu']:.1f} in CPU seconds")


if __name__ == "__main__":
    main()
