"""`uncited review next` and `suspicious`: where people's time goes, and what their answers are worth."""

from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labeling.review_next import NextReviews
    from labeling.reviewer_tests import Compared
    from labeling.suspicious import Suspicious
    from printing import Output

_PAIRS_SHOWN = 10
_QUERY_SHOWN = 70  # characters
_NAME_SHOWN = 40
_TEXT_SHOWN = 100
_CONTRADICTIONS_SHOWN = 5
_PAIRS_NAMED = 3
_NAMES = {"negatives": "negatives", "promoted": "promoted positives", "confirmed": "confirmed positives"}


def next_(
    policy: PolicyOption,
    budget: Annotated[int, typer.Option(help="So many answers people can give.")] = 100,
    audit: Annotated[
        bool, typer.Option("--audit", help="Only what was drawn for a pilot or an audit, and is asked blind.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be asked; change nothing.")] = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put the pairs before reviewers whose answers are worth most, and say what they would buy."""
    from commands.review import print_push
    from labeling.review_next import next_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        chosen = session.policy(policy)  # before Argilla is asked for: a name that is wrong needs none
        client = None if dry_run else session.argilla()
        settings = session.workspace.settings.review
        result = next_reviews(session.store, chosen, settings, budget, client, audit=audit, progress=bar)
        out = session.out
        if not out.json(result):
            _print_choice(out, result)
            _print_gains(out, result)
            if result.pushed:
                print_push(out, result.pushed)
                if audit and result.beside:
                    out.line(
                        f"{result.beside:,} other pairs are open before reviewers already, and the audit stands"
                        " anywhere among them"
                    )
                out.next(f"uncited review pull --policy {policy}")
            elif result.answers:
                out.next(f"uncited review next --policy {policy} --budget {budget}" + (" --audit" if audit else ""))
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
    if not result.targeted:
        return
    out.line("Those worth most (at most three of a query follow each other, and look-alikes stand together):")
    out.line("  value = (gives / 2 + corrects) x nearness x newness x alike")
    for pair in sorted(result.targeted, key=lambda pair: -pair.value)[:_PAIRS_SHOWN]:
        parts = f"({pair.gives:.1f} / 2 + {pair.corrects:.1f}) x {pair.nearness:.2f} x {pair.newness:.2f}"
        place = f"rank {pair.rank}" if pair.rank is not None else "no rank"
        out.line(f"{pair.value:7.2f}  {one_line(pair.query, _QUERY_SHOWN)}")
        out.line(f"         = {parts} x {pair.alike:.2f}; {place}; {pair.known}; doubt {pair.doubt:.2f}")


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
                f" (95 % confidence; {bound.answers:,} of the {bound.open:,} open pairs of the audit are asked: what"
                " stays open counts against the judge)"
            )
    if not result.gains.bounds:
        out.line("  a certificate: nothing yet, as no judge's labels have been drawn into an audit")


def suspicious(
    policy: PolicyOption, workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Show what deserves a second look: contradictions, reviewers far from the others, haste, trust in suggestions."""
    from labeling.suspicious import suspicious_reviews

    with opened(workspace, as_json=json, quiet=quiet) as session:
        result = suspicious_reviews(session.store, session.policy(policy))
    out = session.out
    if out.json(result):
        return
    if not result.answers:
        out.line(f"Nobody has reviewed {policy} yet")
        out.next(f"uncited review next --policy {policy}", f"uncited review terminal --policy {policy}")
        return
    _print_reviewers(out, result)
    _print_contradictions(out, result)
    _print_limits(out, result)


def _print_contradictions(out: "Output", result: "Suspicious") -> None:
    from labeling.untrusted_text import one_line
    from printing import percent

    found = result.contradictions
    if found:
        alone = sum(two.alone for two in found)
        out.line(
            f"{len(found):,} duplicates were answered differently, {alone:,} of them by one and the same reviewer:"
        )
    for two in found[:_CONTRADICTIONS_SHOWN]:
        out.line(f"  query: {one_line(two.query, _TEXT_SHOWN)}")
        sides = ((two.pair_id, two.chunk, two.answers), (two.alike_id, two.alike_chunk, two.alike_answers))
        for pair_id, chunk, answers in sides:
            said = ", ".join(f"{one_line(reviewer, _NAME_SHOWN)}: {label}" for reviewer, label in answers)
            out.line(f"    {said}: {one_line(chunk, _TEXT_SHOWN)}")
            out.line(f"      {pair_id}")
        out.line("    " + ("the same text" if two.exact else f"{percent(two.similarity)} the same text"))
    if len(found) > _CONTRADICTIONS_SHOWN:
        out.line(f"  ... and {len(found) - _CONTRADICTIONS_SHOWN:,} more (--json has all)")
    if found:
        out.next(f"uncited lineage {found[0].pair_id}")


def _print_reviewers(out: "Output", result: "Suspicious") -> None:
    from labeling.reading_time import TOLERATED, WORDS_A_MINUTE, WORDS_READ
    from printing import percent

    for named in result.far:
        far = named.compared
        out.line(
            f"{far.reviewer} is far from the others: agrees with them on {_share(far.second)} of {far.second_of:,}"
            f" pairs, and they with each other on {_share(far.first)} of {far.first_of:,} ({_difference(far)})"
        )
        _print_pairs(out, "alone with an answer on", named.pairs)
    if result.far:
        out.next(f"uncited review agreement --policy {result.policy}")
    for found in result.quick:
        out.line(
            f"{found.reviewer} answers quicker than reading allows: {found.quick:,} of {found.timed:,} answers came"
            f" before {WORDS_READ} words, or the whole of a shorter text, can be read at {WORDS_A_MINUTE} words a"
            f" minute (at least {percent(found.low)} are so quick; {percent(TOLERATED)} would pass)"
        )
        _print_pairs(out, "too quick on", found.pairs)
    if result.quick:
        out.note("To have somebody else answer them too: overlap in the [review] table of uncited.toml, and push")
        out.next(f"uncited review push --policy {result.policy}")
    for named in result.swayed:
        sway = named.compared
        out.line(
            f"{sway.reviewer} follows suggestions: agrees with the judge on {_share(sway.first)} of"
            f" {sway.first_of:,} pairs that showed what it says, and blind on {_share(sway.second)} of"
            f" {sway.second_of:,} ({_difference(sway)})"
        )
        _print_pairs(out, "followed on", named.pairs)
    if result.swayed:
        out.next(f"uncited audit plan --policy {result.policy}")


def _print_pairs(out: "Output", what: str, pairs: "Sequence[str]") -> None:
    some = ", ".join(pairs[:_PAIRS_NAMED]) + (" ... (--json has all)" if len(pairs) > _PAIRS_NAMED else "")
    out.line(f"  {what} {len(pairs):,} pairs: {some}")


def _print_limits(out: "Output", result: "Suspicious") -> None:
    """Say what was looked at, so that silence is not taken for more than it is."""
    if not (result.contradictions or result.far or result.quick or result.swayed):
        out.line("Nothing suspicious was found.")
    timed, batches = sum(p.timed for p in result.paces), sum(p.batches for p in result.paces)
    shown = max((c.first_of for c in result.sway_comparisons), default=0)
    blind = max((c.second_of for c in result.sway_comparisons), default=0)
    looked = [
        f"{result.answers:,} answers of {result.reviewers:,} reviewer{'' if result.reviewers == 1 else 's'}",
        f"{timed:,} timed" + (f" ({batches:,} bulk answers as one each)" if batches else ""),
        f"{len(result.comparisons):,} reviewers compared with the others"
        + ("" if result.comparisons else " (it takes three, and pairs with two answers)"),
        f"{shown:,} answers beside a suggestion and {blind:,} blind ones compared",
    ]
    out.note("Looked at: " + "; ".join(looked))
    out.note("By each kind of comparison, somebody is named in at most one of 20 reports about honest reviewers.")


def _share(value: float | None) -> str:
    from printing import percent

    return "-" if value is None else percent(value)


def _difference(compared: "Compared") -> str:
    found = compared.difference
    if found.low is None or found.high is None:
        return f"difference {_share(found.value)}, the same for all queries"
    return f"difference {_share(found.value)}, interval {_share(found.low)} to {_share(found.high)}"
