"""What a report tells, gathered from the database and from the folder of the run; what is missing is None."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from store.build_origins import (
    HiddenPositive,
    Origin,
    ReviewingTime,
    hidden_positives,
    label_origins,
    reviewing_time,
)
from store.builds import Build, get_build
from store.certificates import Standing, standing_certificates
from store.database import Store
from store.errors import InvalidDataError, MissingError
from store.interactions import LogCounts, log_counts
from store.judge_costs import judge_costs
from store.labels import Resolution
from store.policies import Policy, get_policy_by_id
from store.status import PolicyStatus, workspace_status
from train.ablation import Ablation
from train.answers.comparison import AnswerComparison, answers_file, read_answers
from train.evaluation import Evaluation, Move
from train.evaluation_file import evaluation_file, read_evaluation
from train.experiments import read_result, result_file
from train.held_out import HeldOut, read_held_out
from train.learning_curve import LearningCurve
from train.report.look import SampledPair, sample_pairs
from train.runs import RUN_FILE, finished_runs
from train.statistics import Share, clopper_pearson

_EXAMPLES = 6  # of hidden positives
_QUERIES = 6  # that the tuned model does worst on
_RELEVANT = 2  # chunks of each
_METRIC = "nDCG@10"


class Agreed(NamedTuple):
    """A coefficient of agreement with its interval, over the pairs that several people answered."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    reason: str | None


class Bill(NamedTuple):
    """What judges were paid; `unpriced` of the `calls` have no known price."""

    calls: int
    failed: int
    cost_usd: float
    unpriced: int


class RelevantChunk(NamedTuple):
    """A relevant chunk and where it stands in the pool before and after; None where it is not retrieved, or unknown."""

    text: str
    before: int | None
    after: int | None


class Companion(NamedTuple):
    """Another build that the model was trained on too: its policy, and what was found on its own test split."""

    build_id: str
    policy: str
    question: str
    evaluation: Evaluation | None


class WorstQuery(NamedTuple):
    """A query that the tuned model does badly on; `before` and `after` are its nDCG@10 over the labelled chunks."""

    query: str
    before: float
    after: float
    relevant: tuple[RelevantChunk, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page about a run says, but for the look at similarities (`train.report.look`).

    `run` is what `run.json` says. `pairs` are the sampled test pairs; empty where the test split has none.
    """

    folder: Path
    run: Mapping[str, Any]
    build: Build
    policy: Policy
    log: LogCounts
    progress: PolicyStatus
    origins: tuple[Origin, ...]
    uncited: Share
    hidden: tuple[HiddenPositive, ...]
    certificates: tuple[Standing, ...]
    evaluation: Evaluation | None
    answers: AnswerComparison | None
    curve: LearningCurve | None
    ablation: Ablation | None
    bill: Bill
    time: ReviewingTime
    pairs: tuple[SampledPair, ...]
    worst: tuple[WorstQuery, ...]
    companions: tuple[Companion, ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """What `uncited build` counted; 0 for what it did not count yet when it made this build."""
        return _counts(self.build)

    @property
    def base_model(self) -> str:
        """Folder or hub name of the model that was tuned."""
        return str(self.run["settings"]["base_model"])

    @property
    def base(self) -> str | None:
        """The system of the evaluation that is the model before training; where there is none, the first one."""
        return base_system(self.evaluation, self.base_model)


def base_system(evaluation: Evaluation | None, base_model: str) -> str | None:
    """Return the name of the system that is the base model, or else of the first one; None where there is no other."""
    if evaluation is None:
        return None
    others = [system for system in evaluation.systems if system.name != evaluation.subject]
    of_base = [system.name for system in others if system.model == base_model]
    return next(iter([*of_base, *(system.name for system in others)]), None)


def newest_run(store: Store, models: Path, policy_name: str | None) -> Path:
    """Return the folder of the run that was finished last, of a policy or of all.

    Args:
        store: knows where models were put.
        models: the folder of the workspace in which they are by default, should it have moved.
        policy_name: None for any.

    Raises:
        MissingError: there is none.
    """
    for run, record in finished_runs(store, models).items():
        if policy_name in (None, _policy_of(store, record)):
            return run
    of_policy = f" of policy {policy_name!r}" if policy_name else ""
    hint = f"uncited train --policy {policy_name or 'NAME'}"
    raise MissingError(f"no model{of_policy} has been trained in this workspace", hint=hint)


def _policy_of(store: Store, run: Mapping[str, Any]) -> str | None:
    try:
        return get_policy_by_id(store, get_build(store, str(run["build_id"])).policy_id).name
    except MissingError:  # it was trained in another workspace
        return None


def _record(folder: Path) -> Mapping[str, Any]:
    """Read the record of a run, or say what is wrong with it.

    Raises:
        MissingError: the folder holds no run.
        InvalidDataError: the record cannot be read.
    """
    file = folder / RUN_FILE
    try:
        run: Mapping[str, Any] = json.loads(file.read_bytes())
        _ = run["build_id"], run["settings"]["base_model"]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingError(f"{folder} is no run (it has no {RUN_FILE})", hint="uncited train --policy NAME") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidDataError(f"{file} is no record of a run", hint="uncited train --policy NAME") from error
    return run


def gather(store: Store, folder: Path, experiments: Path, *, resolution: Resolution) -> Report:
    """Read what the report about a run tells.

    Args:
        store: holds the run's build.
        folder: of the run.
        experiments: folder in which experiments over builds are kept.
        resolution: what makes one label of several people's answers.

    Raises:
        MissingError: the folder holds no run, or this workspace does not have its build.
        InvalidDataError: a file of the run or of an experiment cannot be read.
    """
    run = _record(folder)
    build = get_build(store, str(run["build_id"]))
    policy = get_policy_by_id(store, build.policy_id)
    counts = _counts(build)
    curve, ablation = (result_file(experiments, kind, build.build_id) for kind in ("learning-curve", "ablation"))
    evaluation = read_evaluation(evaluation_file(folder, build.build_id))
    try:
        test = read_held_out(store, build, pool_size=0)
    except MissingError:  # no query with a positive is held back
        test = None
    paid = judge_costs(store, policy.name)
    progress = workspace_status(store, resolution=resolution).policies
    return Report(
        folder=folder,
        run=run,
        build=build,
        policy=policy,
        log=log_counts(store),
        progress=next(status for status in progress if status.policy == policy.name),
        origins=tuple(label_origins(store, policy, build)),
        uncited=clopper_pearson(counts["uncited_relevant"], counts["uncited_reviewed"]),
        hidden=tuple(hidden_positives(store, policy, build, limit=_EXAMPLES)),
        certificates=tuple(standing_certificates(store, policy, resolution=resolution)),
        evaluation=evaluation,
        answers=read_answers(answers_file(folder, build.build_id)),
        curve=read_result(curve, LearningCurve),
        ablation=read_result(ablation, Ablation),
        bill=Bill(
            calls=sum(int(str(row["calls"])) for row in paid),
            failed=sum(int(str(row["failed"])) for row in paid),
            cost_usd=sum(float(str(row["cost_usd"])) for row in paid),
            unpriced=sum(int(str(row["unpriced"])) for row in paid),
        ),
        time=reviewing_time(store, policy),
        pairs=tuple(sample_pairs(test)) if test else (),
        companions=tuple(_companions(run, build, folder)),
        worst=_worst(evaluation, base_system(evaluation, str(run["settings"]["base_model"])), test),
    )


def _companions(run: Mapping[str, Any], build: Build, folder: Path) -> Iterator[Companion]:
    for other in run.get("builds") or ():
        if other and other["build_id"] != build.build_id:
            found = read_evaluation(evaluation_file(folder, other["build_id"]))
            yield Companion(other["build_id"], other["policy"]["name"], other["policy"]["question"], found)


def _counts(build: Build) -> Counter[str]:
    return Counter(build.counts)


def _worst(evaluation: Evaluation | None, base: str | None, test: HeldOut | None) -> tuple[WorstQuery, ...]:
    """Return the queries that the tuned model does worst on; not those on which it makes no mistake."""
    if evaluation is None or base is None or test is None:
        return ()
    places = {(m.anchor_id, m.chunk_id): m for m in evaluation.rank_shift.moves} if evaluation.rank_shift else {}
    scored = []
    for result in evaluation.per_query:
        labelled, labels = result.labelled, test.qrels.get(result.anchor_id)
        if labels and base in labelled and labelled[evaluation.subject][_METRIC] < 1:
            relevant = [
                _relevant(test.pool[chunk], places.get((result.anchor_id, chunk))) for chunk in labels if labels[chunk]
            ]
            relevant.sort(key=lambda chunk: chunk.after or 0, reverse=True)
            before, after = labelled[base][_METRIC], labelled[evaluation.subject][_METRIC]
            scored.append(WorstQuery(result.query, before, after, tuple(relevant[:_RELEVANT])))
    return tuple(sorted(scored, key=lambda query: (query.after, query.query))[:_QUERIES])


def _relevant(text: str, move: Move | None) -> RelevantChunk:
    return RelevantChunk(text, move.before, move.after) if move else RelevantChunk(text, None, None)
