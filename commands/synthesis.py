"""Questions that a model writes: where the logs have too few."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened
from store.errors import ProviderError

if TYPE_CHECKING:
    from labeling.synthesis import SynthesisResult
    from labeling.synthesis_estimate import SynthesisEstimate
    from printing import Output


def synthesize(
    policy: PolicyOption,
    purpose: Annotated[
        Literal["evaluation", "few-shot", "training"],
        typer.Option("--for", metavar="PURPOSE", help="What they are for: evaluation, few-shot or training."),
    ],
    count: Annotated[
        int | None, typer.Option(min=1, help="How many there shall be; default: 20, 200 and 2,000 by purpose.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model that writes, as its endpoint names it.")] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=512, help="Requests in flight.")] = None,
    retrieval_model: Annotated[
        str | None, typer.Option(help="A SentenceTransformer that looks for the chunks beside BM25.")
    ] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Stop before the run costs more dollars.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and price; send nothing.")] = False,
    seed: Annotated[int, typer.Option(help="Another one asks about other chunks first.")] = 0,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Have a model write questions about chunks, and keep those that find their chunk and are answered by it."""
    from labeling.synthesis import BUDGET_SPENT, INTERRUPTED
    from labeling.synthesis import synthesize as write
    from labeling.synthesis_estimate import estimate_synthesis
    from mining.round_trip import retriever

    given = {"model": model, "base_url": base_url, "concurrency": concurrency, "retrieval_model": retrieval_model}
    with opened(workspace, as_json=json, quiet=quiet) as session:
        all_settings, chosen = session.workspace.settings, session.policy(policy)
        settings = all_settings.synthesis.model_copy(update={k: v for k, v in given.items() if v is not None})
        judge, prices = all_settings.judge, all_settings.prices
        looks_for = settings.retrieval_model
        dense = all_settings.mine.model_copy(update={"model": looks_for}) if looks_for else None
        if dry_run:
            estimates = estimate_synthesis(
                session.store, chosen, purpose, settings, judge, prices, count=count, seed=seed
            )
            if not session.out.json({"tasks": estimates}):
                _print_estimate(session.out, estimates)
            return
        with session.out.progress() as bar:
            result = write(
                session.store,
                chosen,
                purpose,
                settings,
                judge,
                prices,
                retrieve=retriever(session.store, chosen, dense=dense, progress=bar),
                count=count,
                budget_usd=budget,
                seed=seed,
                progress=bar,
            )
        if not session.out.json(result):
            _print_result(session.out, result)
            if result.accepted:
                pushing = f"uncited review push --policy {policy}"
                session.out.next(f"uncited mine --policy {policy} --from bm25=5", pushing)
            else:
                session.out.note("No question was accepted, so there is nothing to mine or to review yet.")
                session.out.next(f"uncited synthesize --policy {policy} --for {purpose} --model ANOTHER")
    if result.stopped == INTERRUPTED:
        raise typer.Exit(130)
    if result.stopped == BUDGET_SPENT:
        raise typer.Exit(ProviderError.exit_code)


def _print_estimate(out: "Output", estimates: "list[SynthesisEstimate]") -> None:
    from printing import dollars

    rows = [(e.task, e.model, e.requests, e.prompt_tokens, e.completion_tokens, dollars(e.cost_usd)) for e in estimates]
    out.table("Would be asked", ("to", "model", "requests", "prompt tokens", "answer tokens", "cost"), rows)
    out.line("Estimated; how many questions are good enough is only known once they are there.")


def _print_result(out: "Output", result: "SynthesisResult") -> None:
    from printing import dollars

    out.line(f"{result.accepted} of {result.wanted} questions for {result.purpose}, {result.new} of them new")
    if result.not_accepted:
        rows = list(result.not_accepted.items())
        out.table("Questions that were not accepted, of all runs", ("why", "questions"), rows)
    written = result.written
    out.line(
        f"{written.requests} requests for questions ({sum(written.failed.values())} failed), {result.judged} pairs"
        f" judged; {written.prompt_tokens:,} prompt tokens, {written.completion_tokens:,} completion tokens to write;"
        f" {dollars(result.cost_usd)}"
    )
    if result.judge_errors:
        kinds = ", ".join(f"{kind} {times}" for kind, times in sorted(result.judge_errors.items()))
        out.line(f"{result.judge_errors.total()} answers of the judge could not be used ({kinds}); they accept nothing")
    if result.stopped:
        out.line(f"There are fewer than wanted: {result.stopped}")
