"""Measure `uncited import` and `uncited mine` beside a pandas script: `python bench/intake.py [--interactions N]`.

Makes a log of N interactions (the same at every run; 20 chunks each, about 20 kB a line), then lets the pandas script
(`bench/intake_pandas.py`) and the commands of this folder read it, each in processes of their own: seconds from start
to end, seconds of processor time (which a busy machine changes less), and the most memory that a command and its
children held together. Both know interactions and texts by their content and keep the same rows. The commands validate
each line, can be killed at any moment and repeated; the script trusts its input.

About a third of the retrievals repeat a chunk of another list, half of the chunks hold more than ASCII, a tenth of the
queries are asked twice, and one uncited chunk in fifty nearly repeats a cited one of its list.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# In the place of this folder, whose argilla.py would hide the package of that name.
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402, TID253
import psutil  # noqa: E402

_CHUNKS = 20  # of each list
_CITED = 3
_VOCABULARY = 30_000
_RIVER_WORDS = 4_000_000  # running text that chunks are cut from
_POLICY = """\
name: cited
anchor: a question
candidate: a passage
question: Does the passage answer the question?
labels:
  - {name: answers, meaning: it does, role: positive}
  - {name: off, meaning: it does not, role: negative}
signals: {cited: answers}
"""


class Cost(NamedTuple):
    """What a run took. `memory_mib`: the most that the process and its children held together."""

    seconds: float
    processor_seconds: float
    memory_mib: int


def write_log(file: Path, interactions: int) -> None:
    """Write the log; the same number of interactions gives the same bytes."""
    rivers = (_river(1), _river(2))
    pool = max(60, interactions * _CHUNKS * 6 // 10)
    rng = Random(3)
    with file.open("w", encoding="utf-8") as out:
        for number in range(interactions):
            ids = list(_list_of_chunks(rng, pool))
            texts = [_text(rivers, chunk) for chunk in ids]
            cited = sorted(rng.sample(range(_CHUNKS), _CITED))
            for place in range(_CHUNKS):
                if place not in cited and rng.random() < 0.02:
                    texts[place], ids[place] = _edited(texts[cited[0]]), ids[cited[0]] + pool
            asked = number if number % 10 else number // 2  # one query in ten is an earlier one
            line = {
                "interaction_id": f"i{number}",
                "query": f"{_text(rivers, asked)[:40]}, question {asked}?",
                "time": f"2026-01-{1 + number % 28:02d}T12:00:00Z",
                "answer": f"{texts[cited[0]][:300]} [1].",
                "retrieved": [
                    {
                        "chunk_id": f"doc{chunk // 10}#{chunk}",
                        "rank": rank,
                        "score": round(20 - rank * 0.5 + rng.random(), 4),
                        "text": text,
                        "document": f"doc{chunk // 10}",
                    }
                    for rank, (chunk, text) in enumerate(zip(ids, texts, strict=True), 1)
                ],
                "cited": [f"doc{ids[place] // 10}#{ids[place]}" for place in cited],
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


def _river(seed: int) -> str:
    """Running text whose words are as unequal as those of a language, with capitals, commas and curly quotes."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxzéü"))
    weights = 1 / np.arange(1, len(letters) + 1) ** 1.1
    weights[-2:] = 0.0001
    weights /= weights.sum()
    vocabulary = np.array(
        ["".join(rng.choice(letters, size, p=weights)) for size in rng.integers(2, 10, _VOCABULARY)], dtype=object
    )
    frequency = 1 / (np.arange(_VOCABULARY) + 2.7)
    words = vocabulary[rng.choice(_VOCABULARY, _RIVER_WORDS, p=frequency / frequency.sum())]
    ends = rng.random(_RIVER_WORDS)
    words[ends < 0.08] += ","
    words[(ends > 0.08) & (ends < 0.14)] += "."
    words[ends > 0.994] = "“" + words[ends > 0.994] + "”"
    return " ".join(words)


def _list_of_chunks(rng: Random, pool: int) -> Iterator[int]:
    """Draw the chunks of a list: half of them from one neighbourhood, half from anywhere."""
    drawn: set[int] = set()
    base = rng.randrange(pool - 40)
    while len(drawn) < _CHUNKS:
        chunk = base + rng.randrange(40) if rng.random() < 0.5 else rng.randrange(pool)
        if chunk not in drawn:
            drawn.add(chunk)
            yield chunk


def _text(rivers: tuple[str, str], chunk: int) -> str:
    """Cut a chunk of 600 to 1,300 characters out of both rivers, at places that its number decides."""
    rng = Random(chunk)
    parts = []
    for river in rivers:
        start = rng.randrange(len(river) - 700)
        parts.append(river[start : start + rng.randrange(300, 650)].partition(" ")[2].rpartition(" ")[0])
    return ". ".join(part.capitalize() for part in parts)


def _edited(text: str) -> str:
    words = text.split(" ")
    words[len(words) // 2] = "changed"
    return " ".join(words)


def _run(command: Sequence[str]) -> Cost:
    """Run a command in the repository's root, and watch the memory of it and its children ten times a second."""
    started, used = time.monotonic(), _processor_seconds()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        watched, most = psutil.Process(process.pid), 0
        while process.poll() is None:
            try:
                most = max(most, sum(p.memory_info().rss for p in (watched, *watched.children(recursive=True))))
            except psutil.NoSuchProcess:
                continue
            time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return Cost(time.monotonic() - started, _processor_seconds() - used, most >> 20)


def _processor_seconds() -> float:
    """Return what all commands that have ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _product(folder: Path, log: Path) -> dict[str, Cost]:
    uncited = [sys.executable, "cli.py"]
    here = ["--workspace", str(folder), "--json"]
    (folder / "cited.yaml").write_text(_POLICY, encoding="utf-8")
    _run([*uncited, "init", str(folder), "--json"])
    _run([*uncited, "policy", "add", str(folder / "cited.yaml"), *here])
    return {
        "import": _run([*uncited, "import", str(log), *here]),
        "mine": _run([*uncited, "mine", "--policy", "cited", *here]),
        "mine again": _run([*uncited, "mine", "--policy", "cited", *here]),
    }


def _pandas(folder: Path, log: Path) -> dict[str, Cost]:
    script = [sys.executable, "bench/intake_pandas.py"]
    database = str(folder / "log.duckdb")
    return {
        "import": _run([*script, "import", str(log), database]),
        "mine": _run([*script, "mine", database]),
    }


def main() -> None:
    """Run both and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=100_000)
    parser.add_argument("--only", choices=("product", "pandas"), help="Leave the other out.")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="uncited-intake-") as name:
        log = Path(name) / "log.jsonl"
        write_log(log, arguments.interactions)
        size, load = log.stat().st_size, os.getloadavg()[0]
        found: dict[str, dict[str, Cost]] = {}
        for who, run in (("product", _product), ("pandas", _pandas)):
            if arguments.only in (None, who):
                folder = Path(name) / who
                folder.mkdir()
                found[who] = run(folder, log)
                shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps({"interactions": arguments.interactions, "bytes": size, "load": load} | _plain(found)))
        return
    print(f"{arguments.interactions:,} interactions, {size / 1e9:.2f} GB; load {load:.1f} on {os.cpu_count()} cores")
    for task in ("import", "mine", "mine again"):
        costs = {who: costs[task] for who, costs in found.items() if task in costs}
        for who, cost in costs.items():
            print(
                f"{task:>10}, {who:>7}: {cost.seconds:7.1f} s, {cost.processor_seconds:7.1f} s of processor time,"
                f" {cost.memory_mib:6,} MiB"
            )
        if len(costs) == 2:
            seconds, processor = (costs["pandas"][part] / costs["product"][part] for part in (0, 1))
            print(f"{'':>10}  pandas takes {seconds:.1f} times as long, and {processor:.1f} times the processor time")


def _plain(found: dict[str, dict[str, Cost]]) -> dict[str, dict[str, dict[str, float]]]:
    return {who: {task: cost._asdict() for task, cost in costs.items()} for who, costs in found.items()}


if __name__ == "__main__":
    main()
