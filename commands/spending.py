"""`uncited review next` and `suspicious`: where people's time goes, and what their answers are worth."""

from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from labeling.review_next import NextReviews
    from printing import Output

_PAIRS_SHOWN = 10
_QUERY_SHOWN = 40  # characters
_NAMES = {"negatives": "negatives", "promoted": "promoted positives", "confirmed": "confirmed positives"}


def next_(
    policy: PolicyOption,
    budget: Annotated[int, typer.Option(help="So many answers people can give.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be asked; change nothing.")] = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put the pairs before reviewers whose answers are worth most, and say what they would buy."""
    from commands.review import print_push
    from labeling.argilla_client import connect
    from labeling.review_next import next_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        client = None if dry_run else connect(session.workspace.argilla_home)
        settings = session.workspace.settings.review
        result = next_reviews(session.store, session.policy(policy), settings, budget, client, progress=bar)
        out = session.out
        if not out.json(result):
            _print_choice(out, result)
            _print_gains(out, result)
            if result.pushed:
                print_push(out, result.pushed)
                out.next(f"uncited review pull --policy {policy}")
            elif result.answers:
                out.next(f"uncited review next --policy {policy} --budget {budget}")
    if result.pushed and result.pushed.refused:
        raise typer.Exit(6)


def _print_choice(out: "Output", result: "NextReviews") -> None:
    from labeling.untrusted_text import one_line

    if not result.answers:
        out.line(f"Nothing waits for an answer under {result.policy}.")
        return
    out.line(
        f"Next under {result.policy}, for {result.answers:,} answers: {len(result.targeted):,} targeted pairs by value,"
        f" {result.audit:,} of the audit by chance; {result.left:,} more wait"
    )
    if result.undrawn:
        out.line(f"{result.undrawn:,} of them are not drawn yet: chance will move some into the audit")
    out.line("The first of them:")
    out.line("  value = (gives + corrects) x nearness x newness x alike")
    for pair in result.targeted[:_PAIRS_SHOWN]:
        parts = f"({pair.gives:5.1f} + {pair.corrects:8.1f}) x {pair.nearness:8.2f} x {pair.newness:7.2f}"
        place = f"rank {pair.rank}" if pair.rank is not None else "no rank"
        said = f"{one_line(pair.query, _QUERY_SHOWN)} ({place}; {pair.known}; doubt {pair.doubt:.2f})"
        out.line(f"{pair.value:7.2f} = {parts} x {pair.alike:5.2f}  {said}")


def _print_gains(out: "Output", result: "NextReviews") -> None:
    if not result.answers:
        return
    from printing import percent

    triplets, errors = result.gains.triplets, result.gains.errors
    asked = len(result.targeted) + result.audit
    out.line(
        f"What these {result.answers:,} answers would buy, as expected from the chance of each pair to be relevant:"
    )
    out.line(f"  triplets from people's labels: {triplets.expected:,.0f}; {triplets.now:,} now")
    out.line(f"  wrong guesses of judge or log found: {errors.contradicted:,.1f} (the sum of {asked:,} doubts)")
    out.line(
        f"  wrong labels of the newest build corrected: {errors.in_build:,.1f}"
        f" ({errors.unreviewed_in_build:,} of its labels are asked about and had no review)"
    )
    for bound in result.gains.bounds:
        if bound.now is not None and bound.expected is not None:
            out.line(
                f"  wrong among the judge's {_NAMES[bound.group]} that nobody reviewed: at most"
                f" {percent(bound.expected)}; {percent(bound.now)} now"
                f" (95 % confidence; {bound.answers:,} of the {bound.open:,} open pairs of its audit are asked, and what"
                " stays open counts against the judge)"
            )
    if not result.gains.bounds:
        out.line("  a certificate: nothing yet, as no judge's labels have been drawn into an audit")
