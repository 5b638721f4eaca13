"""The parts of the page about the question, the data, the labels, and what it all cost."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from store.build_origins import HiddenPositive
from train.report.contents import Report
from train.report.html import Html, joined, tag
from train.report.wording import percent

CUT = 500  # characters of a text that are shown; the numbers as JSON hold all of it

_EXAMPLES = 3  # of the policy


def question(report: Report, drawn: Mapping[str, Html]) -> Html:
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
        drawn["policy-labels"],
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
    return joined([*parts, *_companions(drawn)])


def _companions(drawn: Mapping[str, Html]) -> list[Html]:
    """Name the other policies of a run that was trained on several, with what was found for each apart."""
    if "trained-together" not in drawn:
        return []
    said = "The model was trained on these policies too. The page is about the first; each is tested apart."
    return [tag("h3", "Trained together with"), tag("p", said), drawn["trained-together"]]


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


def data(report: Report, drawn: Mapping[str, Html]) -> Html:
    """Tell the way from logs to triplets, with counts."""
    parts = [
        tag(
            "p",
            "A chunk that was retrieved and not cited is only a candidate negative. Each was labelled before anything"
            " was trained on it; what turned out relevant became a positive.",
        ),
        drawn["flow"],
        drawn["stations"],
    ]
    if "left-out" in drawn:
        parts.append(tag("details", tag("summary", "Why pairs are left out"), drawn["left-out"]))
    return joined(parts)


def labels(report: Report, drawn: Mapping[str, Html]) -> Html:
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
    parts += [tag("h3", "What is certified about the judge"), *_certificates(report, drawn)]
    parts += [tag("h3", "How far reviewers agree"), *_agreement(report, drawn)]
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
    return [tag("div", *cards, class_="cards", id="cards-false-negatives")]


def _certificates(report: Report, drawn: Mapping[str, Html]) -> list[Html]:
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
    if "certificates" in drawn:
        parts.append(drawn["certificates"])
    elif judged:
        parts.append(missing("No certificate was issued. ", command(f"uncited certify -p {report.policy.name}")))
    return parts


def _agreement(report: Report, drawn: Mapping[str, Html]) -> list[Html]:
    if "agreement" in drawn:
        return [drawn["agreement"]]
    if not report.time.reviewers:
        return [missing("Nobody has reviewed anything under this policy.")]
    people = "One person" if report.time.reviewers == 1 else f"{report.time.reviewers} people"
    said = f"{people} reviewed, and no pair has answers of two: nothing shows how far reviewers would agree."
    return [missing(said)]


def costs(drawn: Mapping[str, Html]) -> Html:
    """Say what it cost: money for the judge, time of people and of machines."""
    note = "The time of people is that between one answer and the next, pauses of more than three minutes left out."
    return joined([drawn["costs"], tag("p", note)])


def record(report: Report, drawn: Mapping[str, Html]) -> Html:
    """Name all that it takes to do it again."""
    build = report.build
    reviewers = cast("Mapping[str, int]", build.settings.get("reviewers", {}))
    said = f"Labels of {len(reviewers):,} reviewers" if len(reviewers) != 1 else "Labels of one reviewer"
    judges = len(cast("Mapping[str, int]", build.settings.get("judges", {})))
    last = f"{said} and {judges:,} judges stand behind this build. " if judges else f"{said} stand behind this build. "
    return joined(
        [
            drawn["record"],
            tag("p", last, command("uncited lineage"), " leads from a row back to its evidence."),
        ]
    )
