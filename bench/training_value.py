"""What checked labels are worth to a model on graded logs: the label ablation, printed whichever way it comes out.

    python -m bench.training_value [DATA ...] [--seeds 3] [--triplets N] [--keep DIR]

DATA are folders with `interactions.jsonl` and `qrels.jsonl` (default: crowdrag25, trec_dl19 and trec_dl21 of
../shared/data, beside this checkout). All pairs that were retrieved and graded are the candidates, and the grades
answer as reviewers: a pair is relevant from grade 2 on. Half of the queries are held back, by group. Each arm of
`uncited ablation` is trained with as many triplets and the same seeds, from all-MiniLM-L6-v2 unless `--base-model`
names another, and measured on the held-back queries. A GPU is used where there is one; on a CPU the arms are cut to 96
triplets and two seeds, unless told otherwise. What is trained is kept in the folder `--keep`, so that a run that was
stopped goes on.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.judge_quality import DATA, POLICY_FILE, RELEVANT, graded_pairs, packaged_model
from labeling.policies import load_policy
from mining.import_log import import_files
from store.candidates import put_candidates
from store.policies import add_policy
from store.reviews import Review, add_reviews
from store.workspace import create_workspace
from train.ablation import Ablation, ablation
from train.arms import read_material
from train.experiments import result_file, write_result
from train.held_out import read_held_out
from train.recipe import Recipe
from train.rows import read_training_split
from train.triplets import build

DATA_SETS = ("crowdrag25", "trec_dl19", "trec_dl21")
CPU_TRIPLETS, CPU_SEEDS, GPU_SEEDS = 96, 2, 5
GRADED_AT = datetime(2026, 1, 1, tzinfo=UTC)  # any; the same each time, so that grades are added once


def run(data: Path, home: Path, recipe: Recipe, *, triplets: int | None, seeds: int) -> Ablation:
    """Make a workspace of a graded log in `home` and run the ablation there; what is there already is used again."""
    workspace = create_workspace(home)
    pairs = graded_pairs(data)
    with workspace.open() as store:
        import_files(store, [data / "interactions.jsonl"])
        policy, _ = add_policy(store, load_policy(POLICY_FILE))
        put_candidates(store, policy.name, [pair.candidate for pair in pairs])
        label_of = {role: next(a.name for a in policy.answers if a.role == role) for role in ("positive", "negative")}
        reviews = [
            Review(
                pair_id=pair.pair_id,
                labelling_fingerprint=policy.labelling_fingerprint,
                reviewer="grades",
                status="submitted",
                label=label_of["positive" if pair.grade >= RELEVANT else "negative"],
                stream="imported",
                reviewed_at=GRADED_AT,
                origin=data.name,
            )
            for pair in pairs
        ]
        add_reviews(store, reviews)
        built = build(store, policy, test_share=0.5).build
        split, test = read_training_split(store, built), read_held_out(store, built)
        material = read_material(store, built)
    folder = workspace.experiments
    found = ablation(material, split, test, recipe, folder=folder, triplets=triplets, seeds=seeds)
    write_result(result_file(folder, "ablation", built.build_id), found)
    return found


def print_ablation(name: str, found: Ablation, minutes: float) -> None:
    """Print the arms with their intervals."""
    print(
        f"\n{name}: {found.test.queries} test queries in {found.test.groups} groups, {found.test.labels} graded pairs;"
    )
    print(f"{found.triplets} triplets an arm, seeds {', '.join(map(str, found.seeds))}; {minutes:.1f} minutes")
    print(f"{'negatives':<24}{'triplets':>10}{'queries':>9}{'relevant':>10}{found.metric:>10}  against naive")
    print(f"{'(before training)':<24}{'':>10}{'':>9}{'':>10}{found.base.value:>10.3f}")
    for arm in found.arms:
        relevant = f"{arm.relevant / arm.known:.0%}" if arm.known else ""
        value = f"{arm.value.value:.3f}" if arm.value else ""
        said = arm.unavailable
        if arm.against_naive and arm.against_naive.low is not None:
            gain = arm.against_naive
            said = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) {gain.verdict}"
        print(f"{arm.name:<24}{arm.available:>10,}{arm.queries:>9}{relevant:>10}{value:>10}  {said}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the ablation on every data set."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", type=Path, default=[DATA.with_name(name) for name in DATA_SETS])
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--triplets", type=int, help="in each arm; 0: as many as the smallest has")
    parser.add_argument("--keep", type=Path, help="folder for workspaces (default: none)")
    parser.add_argument("--base-model", default="", help="default: the all-MiniLM-L6-v2 that a package carries")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    given = parser.parse_args(arguments)
    on_gpu = torch.cuda.is_available()
    seeds = given.seeds or (GPU_SEEDS if on_gpu else CPU_SEEDS)
    triplets = given.triplets if given.triplets is not None else 0 if on_gpu else CPU_TRIPLETS
    base_model = given.base_model or packaged_model()
    recipe = Recipe(base_model=base_model, batch_size=given.batch_size, learning_rate=given.learning_rate)
    with tempfile.TemporaryDirectory() as thrown_away:
        for data in given.data:
            started = time.monotonic()
            home = (given.keep or Path(thrown_away)) / data.name
            found = run(data, home, recipe, triplets=triplets or None, seeds=seeds)
            print_ablation(data.name, found, (time.monotonic() - started) / 60)
    sampled = "queries and seeds" if seeds > 1 else "queries; one seed leaves out what chance does in training"
    print(f"\nThe intervals against naive hold all together (95 %, over {sampled}).")


if __name__ == "__main__":
    main()
