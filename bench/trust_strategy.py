"""What a judge is worth under certificates: pilot, plan, audit and certificate, by the product's own functions.

Grades are the reviewers' answers. A run begins with a pilot, which is plain random reviewing; it audits the part of the
judge's negatives that `audit plan` names, if it names one; and it goes on with plain random reviewing once that part is
certified, or once `certify` says that more reviews will not help.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple
from unittest.mock import patch

from bench.judge_quality import POLICY_FILE, RELEVANT, Graded
from labeling.audit_plan import PILOT, plan_audit
from labeling.audit_regions import Outlook
from labeling.certify import GroupResult, certify
from labeling.policies import load_policy
from mining.import_log import import_files
from store.audit_draws import draw_audit, extend_audit
from store.audits import Audit, audits_by_group, sample_of_all
from store.candidates import put_candidates
from store.certificates import certified_labels
from store.database import Store
from store.judgments import Judgment, add_judge, add_judgments
from store.policies import Policy, Role, add_policy
from store.reviews import Review, add_reviews

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

MAX_ERROR = 0.05
AT_A_TIME = 10  # reviews between two looks

Verdicts = Mapping[str, tuple[str, float | None]]  # pair id -> label and confidence


@dataclass(frozen=True, slots=True)
class Judge:
    """A judge's verdicts about graded pairs, made anew for each run or recorded once."""

    name: str
    verdicts: Sequence[Verdicts]

    def of_run(self, run: int) -> Verdicts:
        """Return the verdicts for a run; recorded ones are always the same."""
        return self.verdicts[run % len(self.verdicts)]


class Step(NamedTuple):
    """What there was after so many reviews: negatives and positives obtained, and how many of the former are wrong."""

    reviews: int
    negatives: int
    positives: int
    wrong: int


@dataclass(slots=True)
class Run:
    """One run of the strategy: how it went on, what it was told, and the statement that it ended with."""

    steps: list[Step] = field(default_factory=list)
    outlook: Outlook | None = None
    result: GroupResult | None = None
    certified_at: Step | None = None
    false: bool = False  # more of the certified negatives are wrong than the certificate says


class Laboratory:
    """A workspace of graded pairs, of which each run gets a copy."""

    def __init__(self, data: Path, pairs: Sequence[Graded], home: Path) -> None:
        """Import the logs and put the pairs forward as candidates."""
        self.truth: dict[str, Role] = {p.pair_id: "positive" if p.grade >= RELEVANT else "negative" for p in pairs}
        self.file = home / "template.duckdb"
        with Store(self.file) as store:
            import_files(store, [data / "interactions.jsonl"])
            self.policy, _ = add_policy(store, load_policy(POLICY_FILE))
            put_candidates(store, self.policy.name, [pair.candidate for pair in pairs])
        roles: list[Role] = ["positive", "negative"]
        self.label_of = {role: next(a.name for a in self.policy.answers if a.role == role) for role in roles}

    def texts(self) -> dict[str, str]:
        """Return the texts of anchors and chunks by their ids."""
        with Store(self.file) as store:
            rows = store.rows("SELECT anchor_id AS id, text FROM anchors UNION ALL SELECT chunk_id, text FROM chunks")
        return {str(row["id"]): str(row["text"]) for row in rows}

    @contextmanager
    def copy(self) -> "Iterator[Store]":
        """Open a copy of the workspace's database; it is thrown away."""
        with tempfile.TemporaryDirectory() as folder:
            copied = Path(folder) / self.file.name
            shutil.copy(self.file, copied)
            with Store(copied) as store:
                yield store

    def run(self, judge: Judge, run: int, rng: "np.random.Generator") -> Run:
        """Spend reviews until all pairs are reviewed or certified."""
        verdicts = judge.of_run(run)
        # The product draws with secrets, so that nobody can choose a draw; here it must be the same each time.
        with self.copy() as store, patch("store.review_streams.secrets.token_hex", lambda size: rng.bytes(size).hex()):
            add_verdicts(store, self.policy, verdicts)
            return _Spending(self, store, verdicts, rng).spend()


class _Spending:
    """Reviews one copy of the workspace."""

    def __init__(self, lab: Laboratory, store: Store, verdicts: Verdicts, rng: "np.random.Generator") -> None:
        self.lab, self.store, self.rng = lab, store, rng
        self.reviewed: set[str] = set()
        self.certified: frozenset[str] = frozenset()
        self.verdicts = verdicts
        self.done = Run(steps=[Step(0, 0, 0, 0)])

    def spend(self) -> Run:
        policy = self.lab.policy
        draw_audit(self.store, policy, min(PILOT, len(self.lab.truth)), pilot=True)
        self.answer(_in_order(sample_of_all(self.store, policy, resolution="majority")))
        plan = plan_audit(self.store, policy, resolution="majority", max_error=MAX_ERROR)
        self.done.outlook = next((found for found in plan.outlooks if found.group == "negatives"), None)
        if self.done.outlook and self.done.outlook.worthwhile:
            best = self.done.outlook.best
            draw_audit(self.store, policy, best.draw, group="negatives", min_confidence=best.min_confidence)
            self.audit()
        self.review_the_rest()
        return self.done

    def audit(self) -> None:
        """Answer the audit in its order, until it certifies, or more reviews will not help."""
        while True:
            audit = audits_by_group(self.store, self.lab.policy, resolution="majority")["negatives"]
            waiting = [pair for pair in _in_order(audit) if pair not in self.reviewed]
            for start in range(0, len(waiting), AT_A_TIME):
                self.answer(waiting[start : start + AT_A_TIME])
                if self.certify():
                    return
            more = self.worth_adding()
            if not more:
                return
            extend_audit(self.store, self.lab.policy, more, group="negatives")

    def certify(self) -> bool:
        found = certify(self.store, self.lab.policy, resolution="majority", max_error=MAX_ERROR)
        self.done.result = next(group for group in found.groups if group.group == "negatives")
        if not self.done.result.certificate_id:
            return False
        self.certified = certified_labels(self.store, self.lab.policy, resolution="majority").pair_ids
        self.done.steps.append(self.now())
        self.done.certified_at = self.done.steps[-1]
        wrong = sum(self.lab.truth[pair] == "positive" for pair in self.certified)
        bound = self.done.result.finding.bound_unreviewed or 0.0
        self.done.false = wrong > bound * len(self.certified) + 1e-9
        return True

    def worth_adding(self) -> int:
        """Return how many pairs `certify` would have added to the audit."""
        return self.done.result.more if self.done.result else 0

    def review_the_rest(self) -> None:
        left = sorted(set(self.verdicts) - self.reviewed - self.certified)
        order = [left[i] for i in self.rng.permutation(len(left))]
        for start in range(0, len(order), AT_A_TIME):
            self.count(order[start : start + AT_A_TIME])

    def answer(self, pairs: Sequence[str]) -> None:
        """Let the grades answer pairs, blind."""
        policy = self.lab.policy
        answers = [
            Review(
                pair_id=pair,
                labelling_fingerprint=policy.labelling_fingerprint,
                reviewer="grades",
                status="submitted",
                label=self.lab.label_of[self.lab.truth[pair]],
                stream="audit",
                reviewed_at=datetime.now(UTC),
                origin="qrels.jsonl",
            )
            for pair in pairs
        ]
        add_reviews(self.store, answers)
        self.count(pairs)

    def count(self, pairs: Sequence[str]) -> None:
        self.reviewed.update(pairs)
        self.done.steps.append(self.now())

    def now(self) -> Step:
        negatives = sum(self.lab.truth[pair] == "negative" for pair in self.reviewed)
        wrong = sum(self.lab.truth[pair] == "positive" for pair in self.certified)
        positives = len(self.reviewed) - negatives
        return Step(len(self.reviewed), negatives + len(self.certified), positives, wrong)


def _in_order(audit: Audit) -> list[str]:
    """Return the pairs that were drawn, as people are asked about them."""
    return [pair.pair_id for pair in sorted(audit.pairs, key=lambda pair: pair.place) if pair.sampled]


def add_verdicts(store: Store, policy: Policy, verdicts: Verdicts) -> None:
    """Store a judge's verdicts as its judgments."""
    judge_id = add_judge(store, {"model": "recorded or simulated"})
    judgments = [
        Judgment(
            pair_id=pair,
            labelling_fingerprint=policy.labelling_fingerprint,
            judge_id=judge_id,
            prompt_id="none",
            judged_at=datetime.now(UTC),
            label=label,
            confidence=confidence,
        )
        for pair, (label, confidence) in verdicts.items()
    ]
    add_judgments(store, judgments)


def simulated(
    name: str, truth: Mapping[str, Role], label_of: Mapping[Role, str], auc: float, *, runs: int, seed: int
) -> Judge:
    """Make a judge whose scores of negatives and positives are normal, so far apart that its AUC is as stated.

    Its confidence is the chance that its label is right, if it is good. A bad judge does not know that it is: it is as
    sure of itself as one of AUC 0.76 would be, also where its scores are the wrong way round.
    """
    import numpy as np
    from scipy.stats import norm

    rng = np.random.default_rng(seed)
    apart = float(2**0.5 * norm.ppf(auc))
    ids, negative = list(truth), np.array([role == "negative" for role in truth.values()])
    prior = float(np.log(negative.mean() / (1 - negative.mean())))
    verdicts = []
    for _ in range(runs):
        score = rng.normal(size=len(ids)) + apart * negative
        logit = prior + max(abs(apart), 1.0) * (score - apart / 2)
        chance = 1 / (1 + np.exp(-logit))
        verdicts.append(as_verdicts(ids, chance.tolist(), label_of))
    return Judge(name, verdicts)


def as_verdicts(ids: Sequence[str], negative: Sequence[float], label_of: Mapping[Role, str]) -> Verdicts:
    """Make labels with a confidence of chances that pairs are negative."""
    roles: dict[bool, Literal["negative", "positive"]] = {True: "negative", False: "positive"}
    return {
        pair: (label_of[roles[chance >= 0.5]], max(chance, 1 - chance))
        for pair, chance in zip(ids, negative, strict=True)
    }
