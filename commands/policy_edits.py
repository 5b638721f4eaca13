"""`uncited policy diff, plan, apply, compare`: what an edit changes and costs, before it does."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.judge import judge_settings
from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from labeling.policy_changes import Applied, Change
    from labeling.policy_plan import Calls, Plan
    from labeling.policy_sample import Sample
    from printing import Output

_FileArgument = Annotated[Path, typer.Argument(help="The edited YAML policy.")]
_Reference = Annotated[str, typer.Argument(help="A file, NAME (its newest version) or NAME@VERSION.")]
_KeepJudgments = Annotated[
    bool,
    typer.Option(
        "--keep-judgments", help="Keep what judges answered under the old wording, wherever its label is still there."
    ),
]
_KeepReviews = Annotated[
    bool,
    typer.Option(
        "--keep-reviews", help="Your word that people's answers hold under the new wording, where their label does."
    ),
]
_LONGEST_SHOWN = 200  # characters of a text


def diff(
    one: _Reference,
    other: _Reference,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what changed between two policies, and what each change puts in question."""
    from labeling.policies import named_policy
    from labeling.policy_changes import diff

    with opened(workspace, as_json=json, quiet=quiet) as session:
        changes = diff(named_policy(session.store, one), named_policy(session.store, other))
        if session.out.json(changes):
            return
        _print_changes(session.out, changes)


def plan(
    file: _FileArgument,
    sample: Annotated[int | None, typer.Option(min=1, help="Ask the judge about so many pairs first.")] = None,
    model: Annotated[str | None, typer.Option(help="The judge's model, as its endpoint names it.")] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Dollars that the sample may cost at most.")] = None,
    keep_judgments: _KeepJudgments = False,
    keep_reviews: _KeepReviews = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what storing an edited policy would cost. Stores nothing, and asks nobody unless --sample is given."""
    from labeling.policies import load_policy, warnings
    from labeling.policy_plan import plan_change
    from labeling.policy_sample import sample_change
    from store.errors import UsageError

    if budget is not None and sample is None:
        raise UsageError("--budget limits what a sample may cost; without --sample the plan costs nothing")
    policy = load_policy(file)
    with opened(workspace, as_json=json, quiet=quiet) as session:
        settings, out = session.workspace.settings, session.out
        judge = judge_settings(settings.judge, model, base_url, None)
        planned = plan_change(
            session.store,
            policy,
            settings.prices,
            model=judge.cascade[0].model,
            keep_judgments=keep_judgments,
            keep_reviews=keep_reviews,
        )
        found = None
        if sample is not None:
            with out.progress() as bar:
                found = sample_change(
                    session.store,
                    policy,
                    judge,
                    settings.prices,
                    size=sample,
                    budget_usd=budget,
                    progress=bar,
                )
        if out.json({"plan": planned, "free": planned.is_free, "sample": found, "warnings": warnings(policy)}):
            return
        for warning in warnings(policy):
            out.note(f"Warning: {file}: {warning}")
        _print_plan(out, planned)
        if found:
            _print_sample(out, found)
        kept = _kept(keep_judgments, keep_reviews)
        if planned.sort == "sample" and planned.pairs and not found:
            out.next(f"uncited policy plan {file} --sample 50{kept}")
        if planned.is_new:
            out.next(f"uncited policy apply {file}{kept}")


def apply(
    file: _FileArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    keep_judgments: _KeepJudgments = False,
    keep_reviews: _KeepReviews = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Store an edited policy as a new version and carry over what still holds; asks first where something is lost."""
    from labeling.policies import load_policy, warnings
    from labeling.policy_changes import apply_policy
    from labeling.policy_plan import plan_change
    from store.errors import UsageError

    policy = load_policy(file)
    with opened(workspace, as_json=json, quiet=quiet) as session:
        out = session.out
        planned = plan_change(
            session.store,
            policy,
            session.workspace.settings.prices,
            model=session.workspace.settings.judge.cascade[0].model,
            keep_judgments=keep_judgments,
            keep_reviews=keep_reviews,
        )
        if not json:
            for warning in warnings(policy):
                out.note(f"Warning: {file}: {warning}")
            _print_plan(out, planned)
        if planned.is_new and not planned.is_free and not yes:
            if json or not sys.stdin.isatty():
                raise UsageError(
                    f"{planned.pairs:,} judged pairs and {planned.reviews_again:,} answers of people would be asked"
                    " again; nothing was stored",
                    hint=f"uncited policy apply {file}{_kept(keep_judgments, keep_reviews)} --yes",
                )
            typer.confirm("Store it?", abort=True)
        applied = apply_policy(session.store, policy, keep_judgments=keep_judgments, keep_reviews=keep_reviews)
        if out.json({"plan": planned, "applied": applied, "warnings": warnings(policy)}):
            return
        print_applied(out, applied)
        out.next(f"uncited mine --policy {policy.name}", f"uncited judge --policy {policy.name}")


def compare(
    one: _Reference,
    other: _Reference,
    limit: Annotated[int, typer.Option(min=0, help="How many pairs to print; --json has all.")] = 20,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the pairs that are similar under the one policy and not under the other."""
    from labeling.policies import named_policy
    from labeling.policy_compare import compare_policies

    with opened(workspace, as_json=json, quiet=quiet) as session:
        first, second = named_policy(session.store, one), named_policy(session.store, other)
        resolution = session.workspace.settings.review.resolution
        found = compare_policies(session.store, first, second, resolution=resolution)
        if session.out.json(found):
            return
        out = session.out
        rows = [(f"{c.one} ({c.one_role})", f"{c.other} ({c.other_role})", c.pairs) for c in found.cells]
        out.table("", (one, other, "pairs"), rows)
        differ = len(found.disagreements)
        out.line(f"{found.pairs:,} pairs have a label under both; {differ:,} of them play another role in training")
        shown = [(d.anchor, _short(d.chunk), d.one, d.other) for d in found.disagreements[:limit]]
        if shown:
            out.table("", ("anchor", "candidate", one, other), shown)
        if not found.pairs:
            out.next(f"uncited judge --policy {first.name}", f"uncited judge --policy {second.name}")


def _kept(judgments: bool, reviews: bool) -> str:
    """Return the options of this run that the next command needs too."""
    return " --keep-judgments" * judgments + " --keep-reviews" * reviews


def print_applied(out: "Output", applied: "Applied") -> None:
    """Say what storing a policy did."""
    stored = applied.policy
    out.line(f"{stored.name} version {stored.version}: {'added' if applied.is_new else 'nothing changed'}")
    if applied.reviews_carried or applied.reviews_again:
        out.line(
            f"{applied.reviews_carried:,} answers of people carried over, {applied.reviews_again:,} to be asked again"
        )
    if applied.judgments_carried or applied.pairs_again:
        out.line(
            f"{applied.judgments_carried:,} judgments carried over, {applied.pairs_again:,} pairs to be judged again"
        )


_SORTS = {"nothing": "costs nothing", "sample": "try a sample", "everything": "ask everything again"}


def _print_changes(out: "Output", changes: "list[Change] | tuple[Change, ...]") -> None:
    if not changes:
        out.line("nothing changed")
        return
    rows = [(c.entry, _short(c.old), _short(c.new), _SORTS[c.sort]) for c in changes]
    out.table("", ("changed", "from", "to", ""), rows)


def _print_plan(out: "Output", plan: "Plan") -> None:
    if plan.version == 1 and plan.is_new:
        out.line(f"{plan.policy}: a new policy")
    else:
        out.line(f"{plan.policy}: version {plan.version}" + ("" if plan.is_new else ", as it is stored already"))
        _print_changes(out, plan.changes)
    if plan.shares_with:
        out.line(f"asks the same as {', '.join(plan.shares_with)}: judgments and reviews count under all of them")
    if plan.is_free:
        out.line("Nothing that was answered is asked again.")
    else:
        out.line(f"{plan.pairs:,} pairs that were judged would be asked about again.")
        for calls in plan.again:
            out.line(f"  {_calls(calls)}")
        out.line(
            f"{plan.reviews:,} answers of people: {plan.reviews_holding:,} still hold,"
            f" {plan.reviews_again:,} would be asked again."
        )
    if plan.first.calls:
        out.line(f"{plan.first.calls:,} candidate pairs have not been judged yet:")
        out.line(f"  {_calls(plan.first)}")


def _calls(calls: "Calls") -> str:
    tokens = f"about {calls.calls * calls.prompt_tokens:,.0f} prompt and"
    tokens += f" {calls.calls * calls.completion_tokens:,.0f} completion tokens"
    guessed = " (guessed from the length of the prompt)" if calls.counted else ""
    cost = f"${calls.cost_usd:,.2f}" if calls.cost_usd is not None else "cost unknown: no price in uncited.toml"
    return f"{calls.model or 'no model set'}: {calls.calls:,} calls, {tokens}{guessed}, {cost}"


def _print_sample(out: "Output", sample: "Sample") -> None:
    from printing import percent

    rows = []
    for flip in sample.flips:
        rate = "unknown" if flip.rate is None else percent(flip.rate)
        between = f"{percent(flip.low)} to {percent(flip.high)}"
        rows.append((flip.label or "all", flip.pairs, flip.sampled, flip.flipped, rate, between, flip.flipping))
    columns = ("old label", "pairs", "sampled", "changed", "rate", "95 % interval", "of all pairs, about")
    out.table("Pairs that get another label under the new wording", columns, rows)
    out.table("In the sample", ("was", "becomes", "pairs"), [move for move in sample.moves if move.was != move.becomes])
    everything = sample.flips[0]
    if everything.flipping is not None:
        low, high = (round(share * everything.pairs) for share in (everything.low, everything.high))
        out.line(
            f"With --keep-judgments, about {everything.flipping:,} of {everything.pairs:,} pairs ({low:,} to {high:,})"
            " would keep a label that the new wording takes from them"
        )
    cost = "cost unknown" if sample.cost_usd is None else f"${sample.cost_usd:.4f}"
    out.line(f"{sample.asked:,} pairs asked now, {cost}; their judgments count if the edit is applied")
    if sample.budget_spent:
        out.line("The budget is spent: the next request might have crossed it")
    if sample.other_judge:
        out.line(
            f"{sample.other_judge:,} sampled pairs were judged by another judge before: the rate counts that change too"
        )
    if sample.unanswered:
        out.line(f"{sample.unanswered:,} sampled pairs have no usable answer and are left out of the estimate")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
