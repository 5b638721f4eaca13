"""What certificates buy on graded logs: negatives against reviews, beside what one might do instead.

    python -m bench.trust [DATA ...] [--worlds 20] [--judged WORKSPACE] [--keep DIR] [--plot FILE]

DATA are folders with `interactions.jsonl` and `qrels.jsonl` (default: crowdrag25 and trec_dl19 of ../shared/data,
beside this checkout). All pairs that were retrieved and graded are the candidates, and the grades answer as reviewers:
a pair is relevant from grade 2 on. For each judge the strategy of `bench.trust_strategy` is run with the product's own
functions in a number of worlds, each with draws (and, if the judge is simulated, errors) of its own. Judges: simulated
ones of a stated AUC; triage by all-MiniLM-L6-v2; and what a workspace of bench/judge_quality.py holds (`--judged`: a
copy is read, as far as its judge has got, for the data that it was made from). Beside them: taking all uncited chunks;
the margin filters of `mine_hard_negatives`; reviewing at random; reviewing everything. MiniLM takes minutes the first
time: what it makes of the texts is kept in the folder `--keep`. `--no-model` leaves out what needs it.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.judge_quality import DATA, POLICY_FILE, RELEVANT, Graded, graded_pairs, judged_labels, packaged_model
from bench.trust_strategy import MAX_ERROR, Judge, Laboratory, Run, as_verdicts, simulated
from labeling.bounds import clopper_pearson_upper
from labeling.judge_quality import query_codes
from labeling.policies import load_policy
from labeling.query_bootstrap import RESAMPLES, QuerySums
from labeling.triage import triage_candidates
from store.database import Store
from store.policies import add_policy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AUCS = (0.95, 0.85, 0.7, 0.5, 0.3)
MARGINS = {"absolute_margin": 0.1, "relative_margin": 0.05, "max_score": 0.6}
STEPS = 8  # rows of a curve


@dataclass(frozen=True, slots=True)
class Played:
    """The runs of one judge."""

    judge: str
    runs: Sequence[Run]


def negatives_at(run: Run, reviews: int) -> int:
    """Return how many negatives a run has obtained after so many reviews."""
    return max(step.negatives for step in run.steps if step.reviews <= reviews)


def print_filter(name: str, kept: Sequence[Graded]) -> None:
    """Print what is relevant among pairs that are taken for negatives without a review."""
    import numpy as np

    if not kept:
        print(f"{name:<40}{0:>8}")
        return
    wrong = np.array([[pair.grade >= RELEVANT, 1] for pair in kept], np.float64)
    sums = QuerySums(query_codes([pair.anchor_id for pair in kept]), np.random.default_rng(0), RESAMPLES)
    share = sums.estimate(wrong, lambda s: s[:, 0] / s[:, 1], "no pairs")
    interval = "" if share.low is None or share.high is None else f"({share.low:.0%} to {share.high:.0%} by topic)"
    print(f"{name:<40}{len(kept):>8}{wrong[:, 0].mean():>10.1%} {interval}")


def margin_filtered(
    pairs: Sequence[Graded], texts: dict[str, str], filters: dict[str, float], cache: Path
) -> list[Graded]:
    """Return the pairs that `mine_hard_negatives` takes for negatives of their anchor, beside its best cited chunk."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    cited = {p.anchor_id: p for p in sorted(pairs, key=lambda p: -(p.candidate.rank or 0)) if _is_cited(p)}
    rows = [{"anchor": texts[anchor], "positive": texts[best.candidate.chunk_id]} for anchor, best in cited.items()]
    corpus = sorted({texts[pair.candidate.chunk_id] for pair in pairs})
    mined = mine_hard_negatives(
        Dataset.from_list(rows),
        SentenceTransformer(packaged_model(), device="cpu"),
        corpus=corpus,
        range_max=len(corpus) - 1,
        num_negatives=len(corpus) - 2,
        verbose=False,
        cache_folder=str(cache),
        **filters,
    )
    taken = set(zip(mined["anchor"], mined["negative"], strict=True))
    uncited = (pair for pair in pairs if not _is_cited(pair))
    return [pair for pair in uncited if (texts[pair.anchor_id], texts[pair.candidate.chunk_id]) in taken]


def _is_cited(pair: Graded) -> bool:
    return pair.candidate.proposed == "positive"


def triage_judge(lab: Laboratory) -> Judge:
    """Take triage for a judge that calls the lower half negative, the surer the lower."""
    from scipy.stats import rankdata

    with Store(lab.file) as store:
        policy, _ = add_policy(store, load_policy(POLICY_FILE))
        done = triage_candidates(store, policy, model=packaged_model())
        rows = store.rows("SELECT pair_id, score FROM triage_scores WHERE scorer = ? ORDER BY pair_id", [done.scorer])
    scores = [-float(str(row["score"])) for row in rows]
    chances = (rankdata(scores) - 0.5) / len(scores)
    return Judge("triage", [as_verdicts([str(row["pair_id"]) for row in rows], chances.tolist(), lab.label_of)])


def recorded_judge(workspace: Path) -> Judge:
    """Read what a judge said in a workspace that bench/judge_quality.py made."""
    with tempfile.TemporaryDirectory() as home:
        copied = Path(shutil.copytree(workspace, Path(home) / "copy"))
        with Store(copied / "uncited.duckdb") as store:
            labels = judged_labels(store, load_policy(POLICY_FILE))
            models = store.rows("SELECT DISTINCT config ->> '$.model' AS model FROM judges ORDER BY model")
    return Judge(", ".join(str(row["model"]) for row in models), [labels])


def play(lab: Laboratory, judge: Judge, worlds: int) -> Played:
    """Run the strategy in several worlds, which are the same each time."""
    import numpy as np

    return Played(judge.name, [lab.run(judge, world, np.random.default_rng([7, world])) for world in range(worlds)])


def print_played(played: Played, share: float) -> None:
    """Print what a judge's certificates gave, or why there were none."""
    import numpy as np

    runs = played.runs
    certified = [(run, run.certified_at) for run in runs if run.certified_at is not None]
    false = sum(run.false for run in runs)
    print(f"\n{played.judge}: certified in {len(certified)} of {len(runs)} worlds, falsely in {false}", end="")
    print(f" (so at most {clopper_pearson_upper(false, len(runs), alpha=0.05):.0%} of the time)" if certified else "")
    if certified:
        at = np.array([[step.reviews, step.negatives, step.positives, step.wrong] for _, step in certified])
        reviews, negatives, positives, _ = at.mean(axis=0)
        rates = at[:, 3] / at[:, 1]
        bounds = [run.result.finding.bound for run, _ in certified if run.result and run.result.finding.bound]
        print(
            f"  {reviews:.0f} reviews gave {negatives:.0f} negatives and {positives:.0f} positives (means);"
            f" certified at most {np.mean(bounds):.1%} wrong,\n  truly {rates.mean():.1%}"
            f" (worlds from {rates.min():.1%} to {rates.max():.1%}) of all negatives obtained"
        )
    ends = [run.certified_at or run.steps[-1] for run in runs]
    gains = np.array([end.negatives / end.reviews / share for end in ends])
    print(
        f"  negatives a review, against random reviewing: {gains.mean():.1f} times"
        f" (worlds from {gains.min():.1f} to {gains.max():.1f}; without a certificate all is reviewed: 1)"
    )
    print_reasons(runs)


def print_reasons(runs: Sequence[Run]) -> None:
    """Say what became of the worlds without a certificate."""
    failed = [run for run in runs if run.certified_at is None]
    unseen = sum(run.outlook is None for run in failed)
    warned = [run.outlook for run in failed if run.outlook and not run.outlook.worthwhile]
    tried = [run.result.finding.sample for run in failed if run.result]
    if unseen:
        print(f"  {unseen} worlds: the judge called too few pairs negative to say anything of it")
    if warned:
        wrong, seen = sum(found.wrong for found in warned), sum(found.reviewed for found in warned)
        expected = sum(found.best.expected for found in warned) / len(warned)
        print(
            f"  {len(warned)} worlds: not good enough to certify anything. Its negatives were wrong {wrong} times of"
            f" {seen} in the pilot;\n  of the best part {expected:.0%} were to be expected wrong. No audit was drawn"
        )
    if tried:
        against, answered = sum(s.against - s.open for s in tried), sum(s.answered for s in tried)
        print(
            f"  {len(tried)} worlds: an audit was begun and found {against} of {answered} wrong:"
            f" more than {MAX_ERROR:.0%} could be shown not to exceed"
        )


def print_curves(all_played: Sequence[Played], pairs: int, share: float) -> None:
    """Print negatives obtained against reviews spent; at all points those that nobody reviewed are certified."""
    import numpy as np

    print("\nNegatives obtained by reviews spent (means; with the 95 % interval of the mean over worlds)")
    print(f"{'reviews':>8}{'random':>9}" + "".join(f"{played.judge[:17]:>19}" for played in all_played))
    for reviews in np.unique(np.geomspace(25, pairs, STEPS).astype(int)).tolist():
        cells = []
        for played in all_played:
            found = np.array([negatives_at(run, reviews) for run in played.runs], np.float64)
            reach = 1.96 * found.std(ddof=1) / len(found) ** 0.5 if len(found) > 1 else 0.0
            cells.append(f"{found.mean():.0f} ± {reach:.0f}")
        print(f"{reviews:>8}{reviews * share:>9.0f}" + "".join(f"{cell:>19}" for cell in cells))


def draw_curves(axes: "Axes", title: str, all_played: Sequence[Played], pairs: int, share: float) -> None:
    """Draw the curves of one set of data."""
    import numpy as np

    places = np.arange(0, pairs + 1, 5)
    for played in all_played:
        own = places[places <= max(run.steps[-1].reviews for run in played.runs) + 5]
        curves = np.array([[negatives_at(run, int(place)) for place in own] for run in played.runs])
        axes.plot(own, curves.mean(axis=0), linewidth=1.5, label=played.judge)
    axes.plot(places, places * share, color="0.5", linestyle="--", label="reviewing at random")
    axes.set(title=title, xlabel="reviews spent", ylabel=f"negatives, certified at most {MAX_ERROR:.0%} wrong")
    axes.legend(frameon=False, fontsize=8)


def compare(
    data: Path, home: Path, judged: Sequence[Path], *, worlds: int, model: bool = True, aucs: Sequence[float] = AUCS
) -> tuple[list[Played], int, float]:
    """Play all judges on one set of data, and print what comes of it.

    Returns:
        The runs by judge, the number of pairs, and the share of negatives among them.
    """
    pairs = graded_pairs(data)
    home.mkdir(parents=True, exist_ok=True)
    lab = Laboratory(data, pairs, home)
    share = sum(role == "negative" for role in lab.truth.values()) / len(pairs)
    topics = len({pair.anchor_id for pair in pairs})
    print(f"\n{data.name}: {len(pairs)} graded pairs of {topics} topics; {share:.1%} are negatives\n")
    print(f"{'without any review':<40}{'taken':>8}{'relevant':>10}")
    print_filter("all uncited chunks", [pair for pair in pairs if not _is_cited(pair)])
    if model:
        texts = lab.texts()
        for name, value in MARGINS.items():
            kept = margin_filtered(pairs, texts, {name: value}, home)
            print_filter(f"mine_hard_negatives {name}={value}", kept)
    print(
        f"\nreviewing at random: {share:.2f} negatives a review, none wrong;"
        f" reviewing everything: {share * len(pairs):.0f} negatives for {len(pairs)} reviews"
    )
    judges = [simulated(f"AUC {a:g}", lab.truth, lab.label_of, a, runs=worlds, seed=1) for a in aucs]
    judges += [triage_judge(lab)] if model else []
    all_played = []
    for judge in judges:
        all_played.append(play(lab, judge, worlds))
        print_played(all_played[-1], share)
    print_curves(all_played, len(pairs), share)
    recorded = [judge for judge in map(recorded_judge, judged) if set(judge.verdicts[0]) & set(lab.truth)]
    for judge in recorded:
        all_played.append(compare_recorded(data, pairs, judge, worlds))
    return all_played, len(pairs), share


def compare_recorded(data: Path, pairs: Sequence[Graded], judge: Judge, worlds: int) -> Played:
    """Play a recorded judge on the pairs that it has judged."""
    own = [pair for pair in pairs if pair.pair_id in judge.verdicts[0]]
    share = sum(pair.grade < RELEVANT for pair in own) / len(own)
    with tempfile.TemporaryDirectory() as home:
        lab = Laboratory(data, own, Path(home))
        known = {pair: said for pair, said in judge.verdicts[0].items() if pair in lab.truth}
        played = play(lab, Judge(f"{judge.name}, {len(own)} pairs", [known]), worlds)
    print(f"\nRecorded: it has judged {len(own)} of the pairs; {share:.1%} of these are negatives")
    print_played(played, share)
    print_curves([played], len(own), share)
    return played


def main() -> None:
    """Compare and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", type=Path, default=[DATA, DATA.with_name("trec_dl19")])
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--judged", type=Path, action="append", default=[], help="workspace of a recorded judge")
    parser.add_argument("--keep", type=Path, help="folder for what takes long (default: none)")
    parser.add_argument("--no-model", action="store_true", help="no triage, no margin filters")
    parser.add_argument("--plot", type=Path, help="draw the curves into this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as thrown_away:
        home = given.keep or Path(thrown_away)
        found = {
            data.name: compare(data, home / data.name, given.judged, worlds=given.worlds, model=not given.no_model)
            for data in given.data
        }
    if given.plot:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4 * len(found), 4.8), layout="constrained")
        for axes, (name, compared) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
            draw_curves(axes, name, *compared)
        figure.savefig(given.plot, dpi=150)


if __name__ == "__main__":
    main()
