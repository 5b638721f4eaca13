"""`uncited audit` and `uncited certify`: how many of the judge's labels are wrong at most."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from labeling.certify import Certification, GroupResult
    from labeling.prevalence import Prevalence
    from printing import Output
    from store.audits import Group

app = typer.Typer(help="Review a random sample blind, to certify the judge's labels.", no_args_is_help=True)

MaxErrorOption = Annotated[float, typer.Option(help="Share of wrong labels that you can live with.")]
ConfidenceOption = Annotated[float, typer.Option(help="That the statement is true.")]

_WRONG = {"negatives": "of them are relevant", "promoted": "of them are not", "confirmed": "of them are not"}
_NAMES = {"negatives": "negatives", "promoted": "promoted positives", "confirmed": "confirmed positives"}


@app.command("plan")
def plan(
    policy: PolicyOption,
    max_error: MaxErrorOption = 0.05,
    confidence: ConfidenceOption = 0.95,
    expected_error: Annotated[
        float | None, typer.Option(help="Share that will turn out wrong; default: as found so far, or none.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say how many blind reviews it takes to certify the judge's labels."""
    from labeling.audit_plan import plan_audit
    from printing import percent

    with opened(workspace, as_json=json, quiet=quiet) as session:
        resolution = session.workspace.settings.review.resolution
        goal = {"max_error": max_error, "confidence": confidence, "expected": expected_error}
        result = plan_audit(session.store, session.policy(policy), resolution=resolution, **goal)  # type: ignore[arg-type]
    out = session.out
    if out.json(result):
        return
    rows = [
        (_NAMES[n.group], n.threshold or "all", n.pairs, percent(n.expected), n.needed or "-", n.drawn, n.answered)
        for n in result.needs
    ]
    columns = ("group", "confidence from", "unreviewed pairs", "errors reckoned", "reviews needed", "drawn", "answered")
    goal_text = f"at most {percent(max_error)} wrong, {percent(confidence)} confidence"
    out.table(f"Audit of {result.policy}: {goal_text}", columns, rows)
    if not rows:
        out.line(
            f"The judge has labelled nothing yet. Each large group of labels will take {result.unknown} blind reviews"
            f" for {goal_text}" + ("." if expected_error else ", if none of them shows an error.")
        )
    if any(need.needed is None for need in result.needs):
        out.line("-: no number of reviews shows it; too many errors have been found, or too few pairs are left")
    if result.outside:
        out.line(f"{result.outside} judged pairs lie outside of the newest audit: it says nothing about them.")
    waiting = sum(need.open for need in result.needs if not need.threshold)
    if waiting:
        out.line(f"{waiting} pairs of the newest audit wait for a blind answer: those first.")
        out.next(f"uncited review push --policy {policy}")
    elif result.draw is not None:
        out.line(
            f"A fresh audit of {result.draw} of the {result.drawable} pairs that may be drawn will very likely do."
        )
        if not any(need.drawn for need in result.needs):
            share = math.ceil(100 * result.draw / result.drawable) / 100
            out.line(
                f"Or have it drawn as pairs go to review: audit_share = {share:g} in uncited.toml, before the first."
            )
        out.next(f"uncited audit draw --policy {policy} --size {result.draw}")
    elif rows:
        out.line(
            f"No fresh audit is worth while: of {result.drawable} pairs that may be drawn, too few are of these groups."
        )


@app.command("draw")
def draw(
    policy: PolicyOption,
    size: Annotated[int, typer.Option(help="Pairs to draw.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw a fresh audit at random from the pairs that nobody has answered."""
    from store.audits import draw_audit

    with opened(workspace, as_json=json, quiet=quiet) as session:
        result = draw_audit(session.store, session.policy(policy), size)
    if not session.out.json(result):
        session.out.line(
            f"{result.size} of {result.population} pairs are drawn; {result.unseen} of them join the audit stream,"
            f" {result.size - result.unseen} were in it"
        )
        session.out.next(f"uncited review push --policy {policy}")


@app.command("status")
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
        reviews, issued = f"{c.reviews} reviews", f"{c.issued_at:%Y-%m-%d}"
        out.line(f"{standing.certificate_id} of {issued}: {'void' if standing.void_because else 'holds'}")
        out.line(f"  {_statement(c.group, c.population, c.threshold, reviews, c.bound, c.confidence)}")
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
            "There is nothing to certify: no pair that went to review or was drawn for an audit has a judge's label."
        )
    if result.prevalence:
        _print_prevalence(out, result.prevalence)
    if result.outside:
        out.line(f"{result.outside} judged pairs lie outside of this audit: it says nothing about them.")
    if any(group.certificate_id for group in result.groups):
        out.next(f"uncited build --policy {policy} --judge-labels")
    else:
        out.next(f"uncited audit plan --policy {policy} --max-error {max_error:g} --confidence {confidence:g}")


def _print_prevalence(out: "Output", found: "Prevalence") -> None:
    from printing import percent

    shares = [("by the reviews alone", found.plain)]
    shares += [("with the judge's help (PPI++)", found.assisted)] if found.assisted else []
    said = ", ".join(f"{percent(s.value)} ({percent(s.low)} to {percent(s.high)}) {how}" for how, s in shares)
    out.line(f"Of all {found.pairs:,} judged pairs, these are relevant: {said}")


def _print_group(out: "Output", result: "Certification", found: "GroupResult") -> None:
    sample, bound = found.finding.sample, found.finding.bound
    name = _NAMES[found.group]
    reviews = f"{sample.answered} reviews"
    if found.certificate_id and bound is not None:
        out.line(_statement(found.group, sample.population, sample.threshold, reviews, bound, result.confidence))
        out.line(f"  {found.certificate_id}")
    else:
        out.line(f"{sample.population:,} {name}, {reviews}: not certified for {_up(result.max_error)}")
        if bound is not None:
            out.line(
                f"  all that can be said with {100 * result.confidence:g} % confidence:"
                f" at most {_up(bound)} {_WRONG[found.group]}"
            )
    out.line(
        f"  {sample.sampled} drawn at random, {sample.against} of them count against the judge"
        f" ({sample.open} not answered yet, {sample.unblind} not answered blind)"
    )
    if found.sensitivity is not None:
        disputed = result.disagreement
        out.line(
            f"  two people differed on {disputed.differ} of {disputed.pairs} pairs: if that hid errors, and always in"
            f" the judge's favour, up to {_up(found.sensitivity)}"
        )
    if not found.certificate_id:
        out.line(f"  {_what_would_help(found)}")


def _what_would_help(found: "GroupResult") -> str:
    if found.finish:
        return f"answering the {found.finding.sample.open} that are open will do, if the judge is right about them"
    if found.more is not None and 2 * found.more > found.finding.sample.population:
        return "a fresh audit would have to review most of them, if errors turn up as they did so far"
    if found.more is not None:
        return f"a fresh audit with {found.more} reviews of this group would do, if errors turn up as they did so far"
    return "more reviews will not help as long as errors turn up as they did: it takes a better judge or policy"


def _statement(group: "Group", population: int, threshold: float, reviews: str, bound: float, confidence: float) -> str:
    sure = f" judged with confidence {threshold:g} or more" if threshold else ""
    return (
        f"{population:,} {_NAMES[group]}{sure}, {reviews}: at most {_up(bound)} {_WRONG[group]},"
        f" {100 * confidence:g} % confidence"
    )


def _up(share: float) -> str:
    """Write a bound in per cent, rounded up: rounded down, it would say more than is known."""
    return f"{math.ceil(1000 * share - 1e-9) / 10:.1f} %"
