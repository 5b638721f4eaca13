"""`uncited lineage`: from any row of training data back to all that stands behind it."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from commands.session import HERE, JsonOption, QuietOption, Session, WorkspaceOption, opened
from store.errors import MissingError, UserError

if TYPE_CHECKING:
    from labeling.judgment_history import SentPrompt
    from labeling.lineage import BuildFacts, Lineage, PairLineage, Standing
    from printing import Branch
    from store.lineage import BuiltLabel, Logged, PutForward
    from train.exported_rows import ExportedRow

_FOLDED = 3  # lines of a long text that are shown without --full
_WIDTH = 160  # characters of each


class Traced(NamedTuple):
    """What was asked for: the row of the export, if it was one, and what stands behind it."""

    exported: "ExportedRow | None"
    lineage: "Lineage"


def lineage(
    row: Annotated[
        str, typer.Argument(help="A line of an export (DIR/train.jsonl:17), or the id of a triplet, pair or record.")
    ],
    full: Annotated[bool, typer.Option("--full", help="Show texts, prompts and answers whole.")] = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show all that stands behind a row: labels, reviews, judgments with their prompts, and the line of the log."""
    with opened(workspace, as_json=json, quiet=quiet) as session:
        traced = _trace(session, row)
        if session.out.json(traced):
            return
        from printing import Branch

        fold = (lambda text: text) if full else _fold
        roots = list(_roots(traced, fold))
        session.out.tree(Branch(row, roots) if traced.exported is None else Branch(_exported(traced.exported), roots))
        if not full:
            session.out.note("Long texts are cut; --full shows them whole.")


def _trace(session: Session, row: str) -> Traced:
    from labeling.lineage import Rules, lineage_of, lineage_of_texts
    from train.exported_rows import names_a_row, read_exported_row

    review = session.workspace.settings.review
    rules = Rules(review.resolution, review.propagate)
    if names_a_row(row):
        exported = read_exported_row(row)
        return Traced(exported, lineage_of_texts(session.store, exported.build_id, exported.texts, rules))
    try:
        return Traced(None, lineage_of(session.store, row, rules))
    except MissingError:
        pair = _asked_of_argilla(session, row)
        if pair is None:
            raise
    return Traced(None, lineage_of(session.store, pair, rules))


def _asked_of_argilla(session: Session, record: str) -> str | None:
    """Return the pair that an open record shows, by the record's id, where an Argilla can be reached."""
    import uuid

    from labeling.review_records import pair_of_record
    from store.policies import list_policies, policy_versions

    try:
        uuid.UUID(record)
        client = session.argilla()
        wordings = [
            one for newest in list_policies(session.store) for one in policy_versions(session.store, newest.name)
        ]
        return pair_of_record(client, wordings[::-1], record)
    except (ValueError, UserError):  # no record's id, or no Argilla: what was said about the name stands
        return None


def _fold(text: str) -> str:
    lines = text.splitlines() or [""]
    kept = [line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…" for line in lines[:_FOLDED]]
    left = len(lines) - len(kept)
    return "\n".join(kept) + (f"\n… {left} more lines" if left else "")


_Fold = Callable[[str], str]


def _exported(row: "ExportedRow") -> str:
    changed = {True: "", False: ", which is NOT as it was exported", None: ""}[row.unchanged]
    return f"line {row.line} of {row.file}{changed}; export {row.folder} ({row.format or 'unnamed format'})"


def _roots(traced: Traced, fold: _Fold) -> "Iterator[Branch]":
    """Yield builds, then what they hold of the row; without a build, the pairs alone."""
    from printing import Branch

    found = traced.lineage
    for facts in found.builds.values():
        yield Branch(_build(facts), [Branch(_certificate(certificate)) for certificate in facts.certificates])
    pairs = {(pair.anchor_id, pair.pair.chunk_id): pair for pair in found.pairs}
    shown = set()
    for triplet in found.triplets:
        inner = []
        for side, chunk in (("positive", triplet.positive_id), ("negative", triplet.negative_id)):
            pair = pairs[triplet.anchor_id, chunk]
            again = pair.pair.pair_id in shown
            shown.add(pair.pair.pair_id)
            seen = f"{side}: {pair.pair.pair_id}, shown above"
            inner.append(Branch(seen) if again else _pair(pair, side, found.builds, fold))
        yield Branch(f"triplet {triplet.triplet_id} ({triplet.split}) of {triplet.build_id}", inner)
    for pair in found.pairs:
        if pair.pair.pair_id not in shown:
            yield _pair(pair, "pair", found.builds, fold)


def _build(facts: "BuildFacts") -> str:
    build, policy = facts.build, facts.policy
    judge = {(False, False): "people's labels only", (True, False): "and a judge's certified labels"}.get(
        (bool(build.settings["judge_labels"]), bool(build.settings["uncertified"])), "and all of a judge's labels"
    )
    return (
        f"build {build.build_id} of {_time(build.built_at)}; policy {policy.name} v{facts.version}"
        f" ({policy.policy_id}); {judge}; resolution: {facts.resolution}"
        + (f"; ALTERED {_time(facts.altered)}: something of it was forgotten" if facts.altered else "")
    )


def _certificate(certificate: Mapping[str, object]) -> str:
    body = certificate["body"]
    assert isinstance(body, dict)
    return (
        f"certificate {certificate['certificate_id']} of {_time(certificate['issued_at'])}: {body['group']}, at most"
        f" {100 * body['bound']:.1f} % wrong, {100 * body['confidence']:.0f} % confidence, {body['reviews']} reviews"
    )


def _pair(pair: "PairLineage", side: str, builds: "Mapping[str, BuildFacts]", fold: _Fold) -> "Branch":
    from printing import Branch

    return Branch(
        f"{side}: {pair.pair.pair_id}",
        [
            Branch(
                f"anchor {pair.anchor_id}\n{fold(pair.pair.anchor)}",
                [Branch(f"asked in {_logged(line)}") for line in pair.asked_in],
            ),
            Branch(f"chunk {pair.pair.chunk_id}\n{fold(pair.pair.chunk)}"),
            Branch("label", list(_labels(pair, builds))),
            Branch(f"reviews: {len(pair.reviews)}", [Branch(_review(r, pair, builds)) for r in pair.reviews]),
            Branch(f"judgments: {len(pair.judgments)}", list(_judgments(pair, fold))),
            _votes(pair),
            Branch("put forward as", [Branch(_put_forward(candidate)) for candidate in pair.candidates]),
        ],
    )


def _votes(pair: "PairLineage") -> "Branch":
    from printing import Branch

    if not pair.votes:
        return Branch("retrieved by no answer to this query")
    answers = sum(vote.answers for vote in pair.votes)
    told = [f"{vote.answers:,} of {answers:,}: {', '.join(vote.signals) or 'no signal'}" for vote in pair.votes]
    return Branch(
        f"votes: stood before {answers:,} {'answer' if answers == 1 else 'answers'} to this query", [*map(Branch, told)]
    )


def _labels(pair: "PairLineage", builds: "Mapping[str, BuildFacts]") -> "Iterator[Branch]":
    from printing import Branch

    now = {standing.policy_name: standing for standing in pair.now}
    built = set()
    for label in pair.in_builds:
        facts = builds.get(label.build_id)
        if facts is not None:
            built.add(facts.policy.name)
            given = f"{label.label} ({label.role}) by {_source(label)}, in {label.split} of {label.build_id}"
            yield Branch(f"{given}; resolution: {facts.resolution}")
            standing = now.get(facts.policy.name)
            if standing is None or (standing.label, standing.role) != (label.label, label.role):
                yield Branch(f"CHANGED SINCE: now {_standing(standing)}")
    for name, standing in now.items():
        if name not in built:
            yield Branch(f"{name}: {_standing(standing)}; in no build")


def _standing(standing: "Standing | None") -> str:
    if standing is None or standing.label is None:
        return "without a label"
    return f"{standing.label} ({standing.role}) by {_source(standing)}"


def _source(label: "BuiltLabel | Standing") -> str:
    return f"people, about its duplicate {label.propagated_from}" if label.propagated_from else str(label.source)


def _review(review: Mapping[str, object], pair: "PairLineage", builds: "Mapping[str, BuildFacts]") -> str:
    said = review["label"] or "discarded as unanswerable"
    text = (
        f"{review['reviewer']}: {said}, {_time(review['reviewed_at'])}, stream {review['stream']}, {review['origin']}"
    )
    if review["suggested"] is not None:
        text += f"; was shown {review['suggested']}"
    if review["carried_from"] is not None:
        text += f"; carried over from {review['carried_from']}"
    if not review["is_current"]:
        text += "; answered anew since"
    moments = [builds[label.build_id].build.built_at for label in pair.in_builds if label.build_id in builds]
    recorded = review["recorded_at"]
    if moments and isinstance(recorded, datetime) and recorded > max(moments):
        text += "; came after the build"
    return text + (f"\nnote: {review['note']}" if review["note"] else "")


def _judgments(pair: "PairLineage", fold: _Fold) -> "Iterator[Branch]":
    from printing import Branch

    for judgment in pair.judgments:
        model = judgment["answered_model"] or judgment["model"]
        said = judgment["label"] or f"no label ({judgment['error']})"
        cost = "cost unknown" if judgment["cost_usd"] is None else f"${judgment['cost_usd']:.6f}"
        confidence = "" if judgment["confidence"] is None else f", confidence {judgment['confidence']:.2f}"
        inner = [Branch(_prompt(pair.prompts[str(judgment["prompt_id"])], fold))]
        inner += [
            Branch(f"{name}: {fold(str(judgment[key]))}")
            for name, key in (("raw answer", "raw_answer"), ("quote", "quote"), ("reason", "reason"))
            if judgment[key] is not None
        ]
        yield Branch(
            f"{model}: {said}{confidence}, {_time(judgment['judged_at'])}, {cost}, {judgment['policy']}", inner
        )


def _prompt(prompt: "SentPrompt", fold: _Fold) -> str:
    if prompt.messages is None:
        return f"{prompt.prompt_id} cannot be shown: {prompt.reason}"
    return f"{prompt.prompt_id}\n" + "\n".join(f"[{m['role']}] {fold(m['content'])}" for m in prompt.messages)


def _put_forward(candidate: "PutForward") -> str:
    text = f"candidate {candidate.proposed} of {candidate.policy_name}, source {candidate.source}"
    if candidate.rank is not None:
        text += f", rank {candidate.rank}"
    if candidate.score is not None:
        text += f", score {candidate.score:g}"
    if candidate.duplicate_of is not None:
        by = f"cosine by {candidate.duplicate_model}" if candidate.duplicate_model else "by its text"
        text += f", repeats {candidate.duplicate_of} ({candidate.similarity:.2f}, {by})"
    if candidate.search is not None:
        text += f"\nfound by {', '.join(f'{name}={value}' for name, value in candidate.search.items())}"
    if candidate.logged is not None:
        text += f"\nretrieved as {candidate.chunk_name} in {_logged(candidate.logged)}"
        text += f"\nsignals: {', '.join(candidate.signals)}" if candidate.signals else ""
    return text


def _logged(line: "Logged") -> str:
    place = f"{line.path or line.file}:{line.line}" if line.file else f"line {line.line} of no recorded file"
    names = [f"query {line.query_id}" if line.query_id else "", line.source or "", _time(line.happened_at)]
    return ", ".join([place, *filter(None, names), line.interaction_id])


def _time(moment: object) -> str:
    return moment.strftime("%Y-%m-%d %H:%M") if isinstance(moment, datetime) else ""
