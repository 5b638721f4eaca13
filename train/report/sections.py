"""The parts of the page about the question, the data, the labels, and what it all cost."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from store.build_origins import HiddenPositive
from train.report.contents import Agreed, Report, base_system
from train.report.html import Html, joined, table, tag
from train.report.outcome import headline_metric
from train.report.wording import dollars, interval, minutes, number, percent, seen, short_model, signed

CUT = 500  # characters of a text that are shown; the numbers as JSON hold all of it

_EXAMPLES = 3  # of the policy
_READING = 0.5  # seconds: who answers quicker on average is a program


def question(report: Report) -> Html:
    """Say what "similar" means here, in the words of the policy."""
    policy = report.policy
    parts = [
        tag("blockquote", policy.question, class_="question"),
        tag(
            "p",
            f"Asked about {policy.anchor} and {policy.candidate}, under the policy ",
            tag("code", policy.name),
            f", version {report.build.settings.get('policy_version', '?')}.",
        ),
        table(("label", "meaning", "in training"), [(a.name, a.meaning, a.role) for a in policy.answers]),
    ]
    if policy.examples:
        cards = [
            card(
                example.anchor,
                example.candidate,
                tag("b", example.label),
                f": {example.reason}" if example.reason else "",
            )
            for example in policy.examples[:_EXAMPLES]
        ]
        parts += [tag("h3", "Examples that judges and reviewers are shown"), tag("div", *cards, class_="cards")]
    return joined([*parts, *_companions(report)])


def _companions(report: Report) -> list[Html]:
    """Name the other policies of a run that was trained on several, with what was found for each apart."""
    if not report.companions:
        return []
    rows = []
    for other in report.companions:
        base = base_system(other.evaluation, report.base_model)
        told = "not evaluated"
        if other.evaluation and base:
            metric = headline_metric(other.evaluation)
            found = metric.differences[base]
            told = found.verdict
            if found.value is not None:
                sure = interval(found.low, found.high) or "no interval"
                told = f"{metric.name} {signed(found.value)} ({sure}), {found.verdict}"
        rows.append((other.policy, other.question, told))
    said = "The model was trained on these policies too. The page is about the first; each is tested apart."
    return [tag("h3", "Trained together with"), tag("p", said), table(("policy", "question", "on its own test"), rows)]


def card(query: str, text: str, *about: object) -> Html:
    """Show a query with a chunk; a long one is cut."""
    parts = [tag("p", cut(query), class_="query", dir="auto"), tag("p", cut(text), class_="text", dir="auto")]
    return tag("article", *parts, tag("p", *about, class_="about"), class_="card")


def cut(text: str) -> str:
    """Return as much of a text as is shown, and how much that leaves out."""
    return text if len(text) <= CUT else f"{text[:CUT].rstrip()} … ({len(text) - CUT:,} more characters)"


def missing(*said: object) -> Html:
    """Say that something is not there."""
    return tag("p", *said, class_="missing")


def command(text: str) -> Html:
    """Write a command."""
    return tag("code", text)


def to_run(report: Report, verb: str) -> str:
    """Return the command that does something with this very run, whatever its kind, its folder and its build."""
    folder = report.folder.resolve()
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    named = f"--model {shlex.quote(str(shown))} --build {report.build.build_id}"
    return f"uncited {verb} --policy {report.policy.name} {named}"


def data(report: Report, figures: Mapping[str, Html]) -> Html:
    """Tell the way from logs to triplets, with counts."""
    log, counts, progress = report.log, report.counts, report.progress
    steps: list[tuple[str, int, str]] = [
        ("interactions", log.interactions, f"logged, {log.anchors:,} different queries"),
        ("retrievals", log.retrievals, f"{log.cited:,} cited, {log.uncited:,} not"),
        ("candidates", counts["candidates"], "pairs put forward under this policy"),
        ("judged", progress.judged, "of them have a judge's label"),
        ("reviewed", progress.reviewed, "of them were answered by people"),
        ("labels by people", counts["human_positives"] + counts["human_negatives"], "in this build"),
        ("other labels", _others(counts), "in this build: a judge's, or lent by a duplicate"),
        ("promoted", counts["promoted"], "candidate negatives that turned out relevant"),
        ("triplets to train on", counts["triplets_train"], "anchor, positive, negative"),
        ("triplets to test on", counts["triplets_test"], "of queries that were held back"),
    ]
    out = [(name.replace("_", " "), counts[name]) for name in _LEFT_OUT if counts.get(name)]
    parts = [
        tag(
            "p",
            "A chunk that was retrieved and not cited is only a candidate negative. Each was labelled before anything"
            " was trained on it; what turned out relevant became a positive.",
        ),
        figures["flow"],
        table(("station", "count", "what it is"), steps),
    ]
    if out:
        parts.append(tag("details", tag("summary", "Why pairs are left out"), table(("reason", "pairs"), out)))
    return joined(parts)


_LEFT_OUT = ("unreviewed", "kept_from_training", "duplicates", "guarded", "undecided", "excluded", "synthetic_left_out")


def _others(counts: Mapping[str, int]) -> int:
    return sum(counts[f"{who}_{role}"] for who in ("judge", "propagated") for role in ("positives", "negatives"))


def labels(report: Report, agreement: Sequence[Agreed]) -> Html:
    """Say what stands behind the labels: reviews of uncited chunks, certificates, agreement."""
    parts: list[Html] = []
    share = report.uncited
    if share.trials:
        parts.append(
            tag(
                "p",
                tag("strong", f"{share.successes:,} of {share.trials:,} reviewed uncited chunks are relevant: "),
                f"{percent(share.value)} (95 % interval {percent(share.low)} to {percent(share.high)}). A pipeline that"
                " takes uncited chunks as negatives unseen trains on these as if they were wrong.",
            )
        )
    else:
        parts.append(missing("No uncited chunk of this build was reviewed by people."))
    parts += [tag("h3", "False negatives that people found"), *_hidden(report.hidden)]
    parts += [tag("h3", "What is certified about the judge"), *_certificates(report)]
    parts += [tag("h3", "How far reviewers agree"), *_agreement(report, agreement)]
    return joined(parts)


def _hidden(hidden: Sequence[HiddenPositive]) -> list[Html]:
    if not hidden:
        return [missing("None is in this build.")]
    cards = []
    for found in hidden:
        where = f"retrieved at rank {found.rank}, not cited; " if found.rank else "not cited; "
        if found.judged is None:
            judged = "no judge was asked"
        elif found.judged == found.label:
            judged = "the judge agreed"
        else:
            judged = f"the judge had said {found.judged}"
        people = "a person" if found.reviewers == 1 else f"{found.reviewers} people"
        cards.append(card(found.anchor, found.chunk, where, f"{people} said ", tag("b", found.label), f", {judged}"))
    return [tag("div", *cards, class_="cards")]


def _certificates(report: Report) -> list[Html]:
    used = cast("list[str]", report.build.settings.get("certificates", []))
    judged = report.counts["judge_positives"] + report.counts["judge_negatives"]
    parts = []
    if not judged:
        parts.append(tag("p", "No label of this build is a judge's: every one was given, or lent, by people."))
    elif report.build.settings.get("uncertified"):
        said = f"{judged:,} labels of this build are a judge's without a certificate: nobody knows how many are wrong."
        parts.append(tag("p", said, class_="warning"))
    else:
        parts.append(tag("p", f"{judged:,} labels of this build are a judge's, certified by {', '.join(used)}."))
    if not report.certificates:
        if judged:
            parts.append(missing("No certificate was issued. ", command(f"uncited certify -p {report.policy.name}")))
        return parts
    rows = []
    for standing in report.certificates:
        found = standing.certificate
        rows.append(
            (
                found.group,
                f"at most {percent(found.bound)}",
                f"{100 * found.confidence:g} %",
                found.population,
                found.reviews,
                "holds" if not standing.void_because else f"void: {'; '.join(standing.void_because)}",
            )
        )
    columns = ("judge's labels", "wrong", "confidence", "speaks about pairs", "blind reviews", "today")
    return [*parts, table(columns, rows)]


def _agreement(report: Report, agreement: Sequence[Agreed]) -> list[Html]:
    known = [found for found in agreement if found.value is not None]
    if not known:
        people = "One person" if report.time.reviewers == 1 else f"{report.time.reviewers} people"
        said = f"{people} reviewed, and no pair has answers of two: nothing shows how far reviewers would agree."
        return [missing(said if report.time.reviewers else "Nobody has reviewed anything under this policy.")]
    rows = [
        (
            found.name,
            found.value,
            f"{number(found.low)} to {number(found.high)}" if found.low is not None and found.high is not None else "",
            found.reason or "",
        )
        for found in known
    ]
    return [table(("coefficient", "value", "95 % interval", ""), rows)]


def costs(report: Report) -> Html:
    """Say what it cost: money for the judge, time of people and of machines."""
    bill, time, run = report.bill, report.time, report.run
    rows: list[tuple[str, str, str]] = []
    if bill.calls:
        note = f"{bill.calls:,} questions" + (f", {bill.failed:,} without a usable answer" if bill.failed else "")
        rows.append(("the judge", dollars(bill.cost_usd, bill.unpriced), note))
    else:
        rows.append(("the judge", "$0.00", "none was asked under this policy"))
    answers = time.answers + time.untimed
    if time.answers and time.seconds < _READING * time.answers:
        rows.append(("people", "not known", f"{time.answers:,} answers came quicker than anybody reads"))
    elif time.answers:
        each = f"{time.seconds / time.answers:.1f} s an answer"
        rest = f"; {time.untimed:,} more answers tell no time" if time.untimed else ""
        rows.append(("people", minutes(time.seconds), f"{time.answers:,} answers, {each}{rest}"))
    elif answers:
        rows.append(("people", "not known", f"{answers:,} answers came from a file, which tells no time"))
    else:
        rows.append(("people", "none", "nobody has reviewed anything under this policy"))
    if run.get("seconds") is not None:
        rows.append(
            ("training", minutes(float(run["seconds"])), f"on {run.get('device', 'a machine of unknown kind')}")
        )
    if report.answers:
        paid = report.answers.bill
        cost = "price unknown" if paid.total_cost_usd is None else dollars(paid.total_cost_usd, 0)
        rows.append(("answers", cost, f"{paid.requests + paid.reused:,} replies of {report.answers.llm}"))
    note = "The time of people is that between one answer and the next, pauses of more than three minutes left out."
    return joined([table(("what", "cost", "for"), rows), tag("p", note)])


def record(report: Report) -> Html:
    """Name all that it takes to do it again."""
    run, build = report.run, report.build
    rows: list[tuple[str, object]] = [
        ("build", build.build_id),
        ("policy", f"{report.policy.name}, {report.policy.policy_id}"),
        ("base model", short_model(report.base_model)),
        *((name.replace("_", " "), _written(value)) for name, value in run["settings"].items() if name not in _TOLD),
        *((f"{name} version", str(value)) for name, value in run.get("versions", {}).items()),
    ]
    reviewers = cast("Mapping[str, int]", build.settings.get("reviewers", {}))
    said = f"Labels of {len(reviewers):,} reviewers" if len(reviewers) != 1 else "Labels of one reviewer"
    judges = len(cast("Mapping[str, int]", build.settings.get("judges", {})))
    last = f"{said} and {judges:,} judges stand behind this build. " if judges else f"{said} stand behind this build. "
    return joined(
        [
            table(("what", "value"), rows),
            tag("p", last, command("uncited lineage"), " leads from a row back to its evidence."),
        ]
    )


_TOLD = ("base_model",)


def _written(value: object) -> object:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return seen(str(value))
