"""`uncited audit`: a random sample of the judge's labels, drawn to be reviewed blind."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from commands import certificates
from commands.certificates import GROUP_NAMES, ConfidenceOption, MaxErrorOption
from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened
from store.errors import UsageError

if TYPE_CHECKING:
    from labeling.audit_plan import AuditPlan
    from labeling.audit_regions import Outlook
    from printing import Output
    from store.audit_draws import Draw

app = typer.Typer(help="Review a random sample blind, to certify the judge's labels.", no_args_is_help=True)

IncludeShownOption = Annotated[
    bool, typer.Option("--include-shown", help="Draw pairs too that stood before reviewers with a judge's suggestion.")
]
GroupOption = Annotated[
    Literal["negatives", "promoted", "confirmed"] | None,
    typer.Option(metavar="GROUP", help="Of the judge's labels: negatives, promoted or confirmed; default: all."),
]


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
    """Say what it takes to certify the judge's labels, and which of them are worth it."""
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
        (GROUP_NAMES[n.group], n.threshold or "all", n.pairs, percent(n.expected), n.needed or "-", n.drawn, n.answered)
        for n in result.needs
    ]
    columns = ("group", "confidence from", "unreviewed pairs", "errors reckoned", "reviews needed", "drawn", "answered")
    goal_text = f"at most {percent(max_error)} wrong, {percent(confidence)} confidence"
    if rows:
        out.table(f"Audit of {result.policy}: {goal_text}", columns, rows)
    else:
        out.line(
            f"Each large group of the judge's labels will take {result.unknown} blind reviews for {goal_text}"
            + ("." if expected_error else ", if none of them shows an error.")
        )
    if any(need.needed is None for need in result.needs):
        out.line("-: no number of reviews shows it; too many errors have been found, or too few pairs are left")
    if result.outside:
        out.line(f"{result.outside} judged pairs lie outside of the audits: they say nothing about them.")
    if result.synthetic:
        out.line(
            f"Of the {result.drawable} pairs that may be drawn, {result.synthetic} are about questions that a model"
            " wrote: a certificate is about them and the logged ones together."
        )
    for found in result.outlooks:
        _print_outlook(out, found, max_error)
    _print_strata(out, result)
    _print_what_to_do(out, result)


def _print_strata(out: "Output", result: "AuditPlan") -> None:
    if not result.strata:
        return
    columns = (
        "stratum",
        "confidence",
        "pairs",
        "queries",
        "blind reviews",
        "wrong",
        "error rate in %",
        "reviews to draw",
    )
    rows: list[tuple[object, ...]] = [
        (
            GROUP_NAMES[s.group] if s.group else "without label",
            "any" if not s.least and s.below is None else f"{s.least:g}" + (f" to {s.below:g}" if s.below else " up"),
            s.pairs,
            s.queries,
            s.reviewed,
            s.wrong,
            "-" if s.low is None or s.high is None else f"{100 * s.low:.0f}-{100 * s.high:.0f}",
            round(s.reviews),
        )
        for s in result.strata
    ]
    pairs, reviewed, wrong = (
        sum(n) for n in zip(*((s.pairs, s.reviewed, s.wrong) for s in result.strata), strict=True)
    )
    rows.append(("all", "", pairs, None, reviewed, wrong, "", sum(draw.size for draw in result.draws)))
    out.table("Pairs that may be drawn, and what is known of them", columns, rows)
    for draw in result.draws:
        about = GROUP_NAMES[draw.group] if draw.group else "all"
        sure = f" with confidence {draw.min_confidence:g} or more" if draw.min_confidence else ""
        kind = "Pilot" if draw.pilot else "Audit"
        out.line(
            f"{kind} of {about}{sure}: {draw.size} reviews, drawn at random from {draw.pairs:,} pairs of"
            f" {draw.queries:,} queries; how they fall on the strata is left to chance, about as the table says"
        )


def _print_outlook(out: "Output", found: "Outlook", max_error: float) -> None:
    from printing import percent

    best = found.best
    known = f"{GROUP_NAMES[found.group]}: of {found.reviewed} reviewed at random the judge had {found.wrong} wrong"
    sure = f" judged with confidence {best.min_confidence:g} or more" if best.min_confidence else ""
    if found.worthwhile:
        out.line(
            f"{known}. Worth an audit are the {best.pairs:,}{sure}, of which about {percent(best.expected)} are wrong:"
            f" a certificate is to be expected with a chance of {percent(best.chance)}, after about"
            f" {best.reviews} reviews"
        )
    elif found.hopeless:
        why = "they are too few" if best.expected <= max_error / 2 else "the judge is not good enough for that"
        out.line(
            f"{known}. Even of the best part, the {best.pairs:,}{sure}, about {percent(best.expected)} are wrong, and"
            f" nothing could be certified at {percent(max_error)}: {why}"
        )
    else:
        out.line(
            f"{known}. An audit of the best part, the {best.pairs:,}{sure}, would be certified with a chance of"
            f" {percent(best.chance)} and give {best.labels_a_review:.1f} labels a review: no more than plain reviewing"
        )


def _print_what_to_do(out: "Output", result: "AuditPlan") -> None:
    policy = result.policy
    shown = " --include-shown" if result.include_shown else ""
    audits = [draw for draw in result.draws if not draw.pilot]
    if result.waiting:
        out.line(f"{result.waiting} pairs that were drawn wait for a blind answer: those first.")
        out.next(f"uncited review next --audit --policy {policy}", f"uncited review pull --policy {policy}")
    elif result.extensions:
        for group, more in result.extensions.items():
            out.line(f"{more} more reviews of {GROUP_NAMES[group]} would do, if errors turn up as they did so far.")
            out.next(f"uncited audit extend --policy {policy} --group {group} --size {more}")
    elif audits:
        for draw in audits:
            sure = f" --min-confidence {draw.min_confidence:g}" if draw.min_confidence else ""
            out.next(f"uncited audit draw --policy {policy} --group {draw.group}{sure} --size {draw.size}{shown}")
    elif result.outlooks:
        out.line("No audit is worth while: review by hand what helps most, or take a better judge.")
        out.next(f"uncited review push --policy {policy}")
    elif result.draws:
        size = result.draws[0].size
        out.line(f"A pilot of {size} pairs shows whether the judge is worth an audit, and which of its labels.")
        if result.draw is not None:
            out.line(
                f"Without one, an audit of {result.draw} of the {result.drawable} pairs that may be drawn will very"
                " likely do, if the judge makes no errors:"
                f" uncited audit draw --policy {policy} --size {result.draw}{shown}"
            )
        out.next(f"uncited audit pilot --policy {policy} --size {size}{shown}")
    elif result.needs:
        out.line(f"No audit is worth while: only {result.drawable} pairs may be drawn.")
    else:
        many = f"{result.drawable} pairs" if result.drawable else "no pair"
        out.line(
            f"There is nothing to certify: {many} with a judge's label may be drawn. Either the judge has not been"
            " asked yet, or people have answered nearly all that it labelled."
        )
        out.next(f"uncited mine --policy {policy}", f"uncited judge --policy {policy}")


@app.command("pilot")
def pilot(
    policy: PolicyOption,
    size: Annotated[int, typer.Option(help="Pairs to draw.")],
    include_shown: IncludeShownOption = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Draw another one, though the one before is not answered yet.")
    ] = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw a few pairs at random, to see whether the judge is worth an audit; they certify nothing."""
    from store.audit_draws import draw_audit, unanswered_pilot

    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen = session.policy(policy)
        waiting = 0 if replace else unanswered_pilot(session.store, chosen)
        if waiting:
            raise UsageError(
                f"{waiting} pairs of the pilot that was drawn before wait for an answer; they stay before reviewers,"
                " and another pilot would add to them: --replace draws one all the same",
                hint=f"uncited review next --audit --policy {policy}",
            )
        result = draw_audit(session.store, chosen, size, include_shown=include_shown, pilot=True)
    _print_draw(session.out, result, policy)


@app.command("draw")
def draw(
    policy: PolicyOption,
    size: Annotated[int, typer.Option(help="Pairs to draw.")],
    group: GroupOption = None,
    min_confidence: Annotated[float, typer.Option(help="Only pairs judged with at least this confidence.")] = 0.0,
    include_shown: IncludeShownOption = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let it take the place of an audit that is not answered yet.")
    ] = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw a fresh audit at random from the pairs that nobody has answered."""
    from store.audit_draws import draw_audit, unfinished_audits

    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen = session.policy(policy)
        waiting = {} if replace else unfinished_audits(session.store, chosen, group)
        if waiting:
            raise UsageError(
                f"{sum(waiting.values())} pairs of the audit that was drawn before wait for an answer; a fresh audit"
                " takes its place, and its answers would count for nothing: --replace draws one all the same",
                hint=f"uncited review next --audit --policy {policy}",
            )
        result = draw_audit(
            session.store,
            chosen,
            size,
            group=group,
            min_confidence=min_confidence,
            include_shown=include_shown,
        )
    _print_draw(session.out, result, policy)


@app.command("extend")
def extend(
    policy: PolicyOption,
    size: Annotated[int, typer.Option(help="Pairs to add.")],
    group: GroupOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw more pairs for the newest audit, whatever its answers were so far."""
    from store.audit_draws import extend_audit

    with opened(workspace, as_json=json, quiet=quiet) as session:
        result = extend_audit(session.store, session.policy(policy), size, group=group)
    _print_draw(session.out, result, policy)


def _print_draw(out: "Output", result: "Draw", policy: str) -> None:
    if out.json(result):
        return
    out.line(
        f"{result.size} of {result.population} pairs are drawn; {result.unseen} of them join the audit stream,"
        f" {result.size - result.unseen} were in it"
    )
    if result.shown:
        out.line(
            f"{result.shown} of them have stood before reviewers with the judge's suggestion: have them answered by"
            " somebody who has not read it; the certificate will count them"
        )
    if result.synthetic:
        out.line(f"{result.synthetic} of them are about questions that a model wrote, and not from the logs")
    out.next(f"uncited review next --audit --policy {policy}")


app.command("status")(certificates.status)
