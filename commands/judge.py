"""Pre-label and order the candidates."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import (
    DEFAULT_MODEL,
    HERE,
    JsonOption,
    PolicyOption,
    QuietOption,
    Session,
    WorkspaceOption,
    opened,
)
from store.errors import ProviderError, UsageError

if TYPE_CHECKING:
    from labeling.dry_run import StageEstimate
    from labeling.few_shot import FrozenExamples
    from labeling.judge import JudgeResult
    from printing import Output
    from store.policies import Policy
    from store.workspace import JudgeSettings

app = typer.Typer(invoke_without_command=True)


@app.callback()
def judge(
    context: typer.Context,
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="Name of the policy.")] = None,
    model: Annotated[str | None, typer.Option(help="The model, as its endpoint names it.")] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=512, help="Requests in flight.")] = None,
    few_shot: Annotated[
        int | None, typer.Option(min=1, max=32, help="Show so many examples from people's reviews of other queries.")
    ] = None,
    fresh_examples: Annotated[bool, typer.Option("--fresh-examples", help="Freeze the examples anew.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many pairs.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Stop before the run costs more dollars.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and price; send nothing.")] = False,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Ask again where an answer could not be used.")
    ] = False,
    record: Annotated[Path | None, typer.Option(help="Write the replies to this file too.")] = None,
    recording: Annotated[Path | None, typer.Option(help="Answer from this file, not from an endpoint.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let a language model pre-label the candidates. Its labels are suggestions until people have checked them."""
    if context.invoked_subcommand is not None:
        return
    from labeling.dry_run import estimate_run
    from labeling.judge import judge_candidates

    if policy is None:
        raise UsageError("which policy? give --policy NAME", hint="uncited policy list")
    with opened(workspace, as_json=json, quiet=quiet) as session:
        settings = judge_settings(session.workspace.settings.judge, model, base_url, concurrency)
        asked, prices = session.mined_policy(policy), session.workspace.settings.prices
        examples = examples_to_show(session, asked, few_shot, renew=fresh_examples) if few_shot else None
        if dry_run:
            stages = estimate_run(
                session.store,
                asked,
                settings,
                prices,
                limit=limit,
                retry_errors=retry_errors,
                examples=examples,
            )
            if not session.out.json({"stages": stages}):
                _print_estimate(session.out, stages)
            return
        with session.out.progress() as bar:
            result = judge_candidates(
                session.store,
                asked,
                settings,
                prices,
                recording=recording,
                record_to=record,
                limit=limit,
                retry_errors=retry_errors,
                examples=examples,
                budget_usd=budget,
                progress=bar,
            )
        if not session.out.json(result):
            _print_judged(session.out, result)
            if result.budget_spent:
                session.out.line(f"The budget of ${budget} is spent: the next request might have crossed it")
            session.out.next(f"uncited argilla up && uncited review push --policy {policy}")
    if result.interrupted:
        raise typer.Exit(130)
    if result.budget_spent:
        raise typer.Exit(ProviderError.exit_code)


def judge_settings(
    settings: "JudgeSettings", model: str | None, base_url: str | None, concurrency: int | None
) -> "JudgeSettings":
    """Put what the command line names in the place of what `uncited.toml` says."""
    given = {"model": model, "base_url": base_url, "concurrency": concurrency}
    given = {name: value for name, value in given.items() if value is not None}
    if settings.stages and given:
        raise UsageError(
            f"uncited.toml gives the judge {len(settings.stages)} stages: --{next(iter(given)).replace('_', '-')} does"
            " not say of which; change it there"
        )
    return settings.model_copy(update=given)


def examples_to_show(session: Session, policy: "Policy", count: int, *, renew: bool = False) -> "FrozenExamples":
    """Return what people said about other queries, of which `count` examples go with each pair."""
    from labeling.few_shot import freeze_examples

    review = session.workspace.settings.review
    model = review.similarity_model or DEFAULT_MODEL
    return freeze_examples(session.store, policy, count, model=model, resolution=review.resolution, renew=renew)


def _print_estimate(out: "Output", stages: "list[StageEstimate]") -> None:
    from printing import dollars

    rows = [
        (
            s.kind,
            s.model,
            s.pairs,
            s.requests,
            s.prompt_tokens,
            s.cached_tokens,
            s.completion_tokens,
            dollars(s.cost_usd),
        )
        for s in stages
    ]
    columns = ("stage", "model", "pairs", "requests", "prompt tokens", "of them cached", "answer tokens", "cost")
    out.table("Would be asked, at most" if len(stages) > 1 else "Would be asked", columns, rows)
    for model in sorted({stage.model for stage in stages if stage.cost_usd is None}):
        out.line(f'No price is known of {model}: [prices."{model}"] in uncited.toml may say it, in dollars')
    if not all(stage.learned or not stage.requests for stage in stages):
        out.line("Estimated at 4 characters a token and answers of full length; past judgments will tell better.")


def _print_judged(out: "Output", result: "JudgeResult") -> None:
    from labeling.endpoint import ANSWERED
    from printing import dollars

    for number, stage in enumerate(result.stages, start=1):
        title = f"Answers of {stage.model}" if len(result.stages) == 1 else f"Stage {number}: {stage.model}"
        rows = [(label, "label", count) for label, count in stage.labels.most_common()]
        rows += [(error, "error", count) for error, count in stage.errors.most_common()]
        rows += [("score", "order", stage.scored)] if stage.judge_id is None else []
        if not rows and not stage.not_recorded:
            out.line(f"{stage.model} has nothing left to answer; --retry-errors asks again where it could not be used")
            continue
        out.table(title, ("answer", "is a", "pairs"), rows)
        out.line(
            f"{stage.judged} pairs judged in {stage.seconds:.0f} s; {stage.prompt_tokens:,} prompt tokens"
            f" ({stage.cached_tokens:,} cached), {stage.completion_tokens:,} completion tokens;"
            f" {dollars(stage.cost_usd)}"
        )
        unusable = sum(stage.errors[kind] for kind in ANSWERED)
        if unusable:
            out.line(f"{unusable} answers could not be used and were paid for; --retry-errors asks again")
        if stage.quotes_missing:
            out.line(f"{stage.quotes_missing} answers quote words that are not in the chunk")
        if stage.not_recorded:
            out.line(f"{stage.not_recorded} pairs are not in the recording; people will see them without a suggestion")
        if stage.passed_on is not None:
            out.line(f"{stage.passed_on} pairs go on to stage {number + 1}")
    if result.remaining:
        out.line(f"{result.remaining} pairs remain; run the same command again to go on")


def triage(
    policy: PolicyOption,
    model: Annotated[str, typer.Option(help="A sentence-transformers model: path or name.")] = DEFAULT_MODEL,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Order the review queue by similarity where there is no judge. This is no judge: it labels nothing."""
    from labeling.triage import triage_candidates

    with opened(workspace, as_json=json, quiet=quiet) as session, session.out.progress() as bar:
        result = triage_candidates(session.store, session.mined_policy(policy), model=model, progress=bar)
        if not session.out.json(result):
            session.out.line(
                f"{result.scored} pairs scored in {result.seconds:.0f} s. This is no judge: it orders the review queue,"
                " for which similarity is a weak guide, and labels nothing."
            )
            session.out.next(f"uncited argilla up && uncited review push --policy {policy}")
