"""`uncited review`, for more than one person: how far they agree, what they disagree about, answers in a terminal."""

from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened
from store.errors import UsageError

if TYPE_CHECKING:
    from labeling.agreement import Agreement
    from labeling.agreement_report import AgreementReport
    from labeling.query_bootstrap import Estimate
    from printing import Output
    from store.disputes import Answer, Dispute

_QUERY_SHOWN = 300  # characters
_CHUNK_SHOWN = 600


def agreement(
    policy: PolicyOption, workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Measure how far reviewers agree, with each other and with the judge, and show where they do not."""
    from labeling.agreement_report import agreement_report

    with opened(workspace, as_json=json, quiet=quiet) as session:
        resolution = session.workspace.settings.review.resolution
        result = agreement_report(session.store, session.policy(policy), resolution=resolution)
    out = session.out
    if out.json(result):
        return
    people = result.streams["all"]
    if not people.pairs and not people.single:
        out.line(f"Nobody has reviewed {policy} yet")
        out.next(f"uncited review push --policy {policy}", f"uncited review terminal --policy {policy}")
        return
    if not people.pairs:
        out.note("Nobody can agree where one person answers a pair: overlap in the [review] table of uncited.toml")
    _print_coefficients(out, result)
    _print_labels_and_reviewers(out, result)
    for confusion in result.confusions:
        if confusion.examples:
            times, pairs = _counted(confusion.times, "time"), _counted(confusion.pairs, "pair")
            out.line(f"\n{confusion.one} or {confusion.other}? {times}, about {pairs}")
            for dispute in confusion.examples:
                _print_dispute(out, dispute)
    if result.open_disputes:
        out.next(f"uncited review conflicts --policy {policy}")


def conflicts(
    policy: PolicyOption,
    push: Annotated[bool, typer.Option("--push", help="Put them before an adjudicator in Argilla.")] = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the pairs about which reviewers disagree and nobody has decided yet."""
    from labeling.conflicts import open_conflicts, push_conflicts

    pushed = None
    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen = session.policy(policy)
        found = [conflict.dispute for conflict in open_conflicts(session.store, chosen)]
        if push:
            with session.out.progress() as bar:
                client = session.argilla()
                pushed = push_conflicts(session.store, chosen, client, progress=bar)
    out = session.out
    if not out.json({"conflicts": found, "pushed": pushed}):
        for dispute in found:
            _print_dispute(out, dispute)
        out.line(f"Waiting for an adjudicator: {_counted(len(found), 'conflict')}")
        if session.workspace.settings.review.resolution == "strict":
            out.note("The rule of resolution is strict: an adjudication makes no label ([review] in uncited.toml)")
        if pushed:
            out.line(
                f"{pushed.dataset}: {pushed.new} records new, {pushed.updated} updated, {pushed.unchanged} unchanged,"
                f" {pushed.answered} answered and not pulled yet, {pushed.closed} settled and taken out of the queue"
            )
            for record, reason in pushed.refused:
                out.line(f"refused: {record}: {reason}")
            if pushed.url:
                out.line(f"Adjudicate them at {pushed.url}")
            out.next(f"uncited review pull --policy {policy}")
        elif found:
            commands = (f"conflicts --push --policy {policy}", f"terminal --conflicts --policy {policy}")
            out.next(*(f"uncited review {command}" for command in commands))
    if pushed and pushed.refused:
        raise typer.Exit(6)


def _print_coefficients(out: "Output", result: "AgreementReport") -> None:
    judge = result.judge
    columns: dict[str, Agreement] = {**result.streams, "judge, people": judge.agreement}
    rows: list[list[object]] = [
        ["pairs with two answers", *(f"{a.pairs:,}" for a in columns.values())],
        ["of so many queries", *(f"{a.queries:,}" for a in columns.values())],
        ["pairs with one answer", *(f"{a.single:,}" for a in columns.values())],
    ]
    reasons: dict[tuple[str, str], list[str]] = {}  # why a column has no number, or no interval: for which
    for name in result.streams["all"].coefficients:
        estimates = {column: a.coefficients[name] for column, a in columns.items()}
        rows.append([name, *(_shown(estimate) for estimate in estimates.values())])
        for column, estimate in estimates.items():
            if estimate.reason:
                reasons.setdefault((column, estimate.reason), []).append(name)
    out.table(f"Agreement under {result.policy}, with 95 % intervals", ("", *columns), rows)
    for (column, reason), names in reasons.items():
        every = len(names) == len(result.streams["all"].coefficients)
        out.note(f"{column}: {reason}" + ("" if every else f" ({', '.join(names)})"))
    out.line(
        f"The judge is compared on the {judge.audited} pairs drawn at random and answered blind"
        f" ({judge.unsettled} without a label of people, {judge.unjudged} without a judgment)."
    )


def _print_labels_and_reviewers(out: "Output", result: "AgreementReport") -> None:
    people, judge = result.streams["all"], result.judge.agreement
    labels = []
    for name in sorted({*people.labels, *judge.labels}):
        row: list[object] = [name]
        for found in (people.labels.get(name), judge.labels.get(name)):
            row += [found.answers, _shown(found.agreement)] if found else [0, ""]
        labels.append(row)
    columns = ("label", "answers", "another says so too", "judge, people: answers", "the other says so too")
    out.table("Labels", columns, labels)
    rows = [(name, r.pairs, _shown(r.agreement), _shown(r.kappa)) for name, r in people.reviewers.items()]
    if result.together:
        out.table("Reviewers, each against the others", ("reviewer", "pairs", "agreement", "kappa"), rows)
        out.table("Two by two", ("reviewer", "and", "pairs of both", "disagreements"), result.together)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _shown(estimate: "Estimate") -> str:
    if estimate.value is None:
        return "-"
    interval = f" ({estimate.low:.2f} to {estimate.high:.2f})" if estimate.low is not None else ""
    return f"{estimate.value:.2f}{interval}"


def _print_dispute(out: "Output", dispute: "Dispute") -> None:
    from labeling.untrusted_text import one_line

    out.line(f"  query:  {one_line(dispute.anchor, _QUERY_SHOWN)}")
    out.line(f"  chunk:  {one_line(dispute.chunk, _CHUNK_SHOWN)}")
    for answer in dispute.answers:
        out.line(f"  {_said(answer)}")
    if dispute.adjudication:
        out.line(f"  adjudicated by {_said(dispute.adjudication)}")
    out.line(f"  {dispute.pair_id}\n")


def _said(answer: "Answer") -> str:
    from labeling.agreement_report import DISCARDED
    from labeling.untrusted_text import one_line

    note = f" ({one_line(answer.note, _QUERY_SHOWN)})" if answer.note else ""
    return f"{one_line(answer.reviewer, _QUERY_SHOWN)}: {answer.label or DISCARDED}{note}"


def terminal(
    policy: PolicyOption,
    reviewer: Annotated[str | None, typer.Option(help="Who answers; default: your user name.")] = None,
    conflicts: Annotated[bool, typer.Option("--conflicts", help="Decide what reviewers disagree about.")] = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer in the terminal what Argilla would ask: one key an answer, stored at once."""
    from labeling.terminal import questions_for, review_in_terminal
    from labeling.terminal_keys import require_terminal
    from printing import Output

    require_terminal(f"uncited review import FILE --policy {policy}")
    who = _user_name() if reviewer is None else reviewer.strip()
    if not who:
        raise UsageError("a reviewer needs a name", hint="--reviewer NAME")
    with opened(workspace, as_json=json, quiet=quiet) as session:
        chosen, settings = session.policy(policy), session.workspace.settings.review
        questions = questions_for(session.store, chosen, settings, who, conflicts=conflicts)
        open_store = session.workspace.open
    out = Output(as_json=json, quiet=quiet)  # the database is closed: people take long, and others may want it
    result = review_in_terminal(open_store, chosen, questions, who, out.notes if json else out.console)
    if not out.json(result):
        out.line(
            f"{who}: {result.answered} answered, {result.discarded} discarded, {result.changed} changed;"
            f" {result.left} wait for you"
        )
        if not result.left:
            out.next(f"uncited build --policy {policy}")


def _user_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # no variable says it, and no entry for this user id (KeyError until 3.13)
        raise UsageError("the system does not know your user name", hint="--reviewer NAME") from error
