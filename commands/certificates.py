"""`uncited certify` and `uncited audit status`: what is certified of the judge's labels."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from labeling.certify import Certification, GroupResult
    from labeling.prevalence import Estimated, Prevalence
    from printing import Output
    from store.audits import Group

MaxErrorOption = Annotated[float, typer.Option(help="Share of wrong labels that you can live with.")]
ConfidenceOption = Annotated[float, typer.Option(help="That the statement is true.")]

GROUP_NAMES = {"negatives": "negatives", "promoted": "promoted positives", "confirmed": "confirmed positives"}
_WRONG = {"negatives": "of them are relevant", "promoted": "of them are not", "confirmed": "of them are not"}


def status(
    policy: PolicyOption, workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """List the certificates of a policy, and why those that do not hold any more are void."""
    from store.certificates import standing_certificates

    with opened(workspace, as_json=json, quiet=quiet) as session:
        resolution = session.workspace.settings.review.resolution
        found = standing_certificates(session.store, session.policy(policy), resolution=resolution)
    out = session.out
    if out.json(found):
        return
    for standing in found:
        c = standing.certificate
        state = "void" if standing.void_because else "holds"
        out.line(f"{standing.certificate_id} of {c.issued_at:%Y-%m-%d}: {state}")
        least = max(c.threshold, c.min_confidence)
        out.line(f"  {_statement(c.group, c.population + c.confirmed, least, c.reviews, c.bound, c.confidence)}")
        out.line(f"  {_unreviewed(c.population, c.bound_unreviewed)}")
        if c.shown:
            out.line(f"  {_shown(c.shown)}")
        for reason in standing.void_because:
            out.line(f"  void: {reason}")
    if not any(not standing.void_because for standing in found):
        out.line("No certificate holds.")
        out.next(f"uncited certify --policy {policy}")


def certify(
    policy: PolicyOption,
    max_error: MaxErrorOption = 0.05,
    confidence: ConfidenceOption = 0.95,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say how many of the judge's labels are wrong at most, from the blind reviews of a random sample."""
    from labeling.certify import certify as certify_labels

    with opened(workspace, as_json=json, quiet=quiet) as session:
        resolution = session.workspace.settings.review.resolution
        goal = {"max_error": max_error, "confidence": confidence}
        result = certify_labels(session.store, session.policy(policy), resolution=resolution, **goal)
    out = session.out
    if out.json(result):
        return
    for group in result.groups:
        _print_group(out, result, group)
    if not result.groups:
        out.line(
            "There is nothing to certify: no pair that an audit might have drawn has a judge's label (a pilot certifies"
            " nothing)."
        )
    if result.prevalence:
        _print_prevalence(out, result.prevalence)
    if result.outside:
        out.line(f"{result.outside} judged pairs lie outside of the audits: they say nothing about them.")
    if any(group.certificate_id for group in result.groups):
        out.next(f"uncited build --policy {policy} --judge-labels")
    elif any(group.finding.sample.open for group in result.groups):
        out.next(f"uncited review next --audit --policy {policy}")  # what was drawn comes before what might be
    elif extensible := [group for group in result.groups if group.more]:
        for group in extensible:
            out.next(f"uncited audit extend --policy {policy} --group {group.group} --size {group.more}")
    else:
        out.next(f"uncited audit plan --policy {policy} --max-error {max_error:g} --confidence {confidence:g}")


def _print_prevalence(out: "Output", found: "Prevalence") -> None:
    out.line(f"Of all {found.pairs:,} judged pairs, these are relevant: {_estimates(found.relevant)}")
    out.line(f"The judge is wrong about: {_estimates(found.wrong)}")
    for what, estimated in (("relevant pairs", found.relevant), ("errors", found.wrong)):
        if estimated.unassisted_because:
            out.line(f"With the judge's help (PPI++) nothing is estimated of {what}: {estimated.unassisted_because}")


def _estimates(found: "Estimated") -> str:
    from printing import percent

    shares = [("by the reviews alone", found.plain)]
    shares += [("with the judge's help (PPI++)", found.assisted)] if found.assisted else []
    return ", ".join(f"{percent(s.value)} ({percent(s.low)} to {percent(s.high)}) {how}" for how, s in shares)


def _print_group(out: "Output", result: "Certification", found: "GroupResult") -> None:
    finding, sample = found.finding, found.finding.sample
    labels = sample.population + sample.confirmed
    least = max(sample.threshold, found.min_confidence)
    if found.certificate_id and finding.bound is not None:
        out.line(_statement(found.group, labels, least, sample.answered, finding.bound, result.confidence))
        out.line(f"  {found.certificate_id}")
    else:
        out.line(
            f"{labels:,} {_part(found.group, least)}, {sample.answered} reviews: not certified for"
            f" {_up(result.max_error)}"
        )
        if finding.bound is not None:
            out.line(
                f"  all that can be said with {100 * result.confidence:g} % confidence:"
                f" at most {_up(finding.bound)} {_WRONG[found.group]}"
            )
    if finding.bound_unreviewed is not None:
        out.line(f"  {_unreviewed(sample.population, finding.bound_unreviewed)}")
    out.line(
        f"  {sample.sampled} drawn at random, {sample.against} of them count against the judge"
        f" ({sample.open} not answered yet, {sample.unblind} not answered blind)"
    )
    if sample.shown:
        out.line(f"  {_shown(sample.shown)}")
    if sample.synthetic or sample.synthetic_sampled:
        out.line(
            f"  {sample.synthetic:,} of these labels, and {sample.synthetic_sampled} of the pairs drawn, are about"
            " questions that a model wrote: the bound is about them and the logged ones together"
        )
    if found.sensitivity is not None:
        disputed = found.disagreement
        out.line(
            f"  two people differed on {disputed.differ} of {disputed.pairs} pairs: if that hid errors, and always in"
            f" the judge's favour, up to {_up(found.sensitivity)}"
        )
    if not found.certificate_id:
        out.line(f"  {_what_would_help(found)}")


def _what_would_help(found: "GroupResult") -> str:
    sample, reviews = found.finding.sample, found.reviews
    if found.finish:
        return f"answering the {sample.open} that are open will do, if the judge is right about them"
    if reviews is None:
        return "more reviews will not help as long as errors turn up as they did: it takes a better judge or policy"
    if found.more:
        return f"{found.more} more reviews of this group would do, if errors turn up as they did so far"
    if 2 * reviews > sample.frame:
        return "an audit would have to review most of them, if errors turn up as they did so far"
    return f"a fresh audit with {reviews} reviews of this group would do, if errors turn up as they did so far"


def _statement(group: "Group", labels: int, least: float, reviews: int, bound: float, confidence: float) -> str:
    return (
        f"{labels:,} {_part(group, least)}, {reviews} reviews: at most {_up(bound)} {_WRONG[group]},"
        f" {100 * confidence:g} % confidence"
    )


def _part(group: "Group", least: float) -> str:
    return GROUP_NAMES[group] + (f" judged with confidence {least:g} or more" if least else "")


def _unreviewed(population: int, bound: float) -> str:
    return f"{population:,} of them nobody has reviewed: of these alone at most {_up(bound)}"


def _shown(pairs: int) -> str:
    return f"{pairs} of the pairs drawn had stood before reviewers with the judge's suggestion: perhaps not blind"


def _up(share: float) -> str:
    """Write a bound in per cent, rounded up: rounded down, it would say more than is known."""
    return f"{math.ceil(1000 * share - 1e-9) / 10:.1f} %"
