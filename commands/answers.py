"""`uncited answers`: whether a tuned retriever leads to better answers."""

from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from commands.session import HERE, BuildOption, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened
from commands.training import KindOption
from store.errors import MissingError, ProviderError

if TYPE_CHECKING:
    from labeling.completions import AskedModel, Estimate, Spent
    from printing import Output
    from store.builds import Build
    from store.completions import Ask
    from store.progress import Progress
    from train.answers.chain import Question
    from train.answers.comparison import AnswerComparison, Bill, Measured
    from train.answers.ragas_metrics import AnswerMetric
    from train.held_out import HeldOut


def answers(
    policy: PolicyOption,
    base_model: Annotated[
        str, typer.Option(help="The retriever to compare with; default: the one that the model was made from.")
    ] = "",
    model: Annotated[Path | None, typer.Option(help="The tuned model; default: the one `train` made.")] = None,
    kind: KindOption = "bi-encoder",
    queries: Annotated[int, typer.Option(min=1, help="So many logged test queries, drawn at random.")] = 100,
    k: Annotated[int, typer.Option(min=1, max=40, help="Chunks that an answer is written from.")] = 5,
    metrics: Annotated[str, typer.Option(help="Such as context_recall,faithfulness; default: all seven.")] = "",
    llm: Annotated[
        str | None, typer.Option(help="Who answers and is asked by Ragas, as its endpoint names it.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=512, help="Requests in flight.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Stop before the run costs more dollars.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and price; send nothing.")] = False,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    build_id: BuildOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let a model answer test queries from what the base and the tuned model retrieve, and measure it with Ragas."""
    from labeling.completions import INTERRUPTED
    from printing import Output, relative
    from train.answers.comparison import keep_answers
    from train.answers.ragas_metrics import check_ragas, metrics_named

    wanted = metrics_named([name.strip() for name in metrics.split(",") if name.strip()])
    given = {"model": llm, "base_url": base_url, "concurrency": concurrency}
    plan = _plan(workspace, policy, build_id, model, kind, base_model, wanted, given, dry_run=dry_run)
    version = check_ragas()
    out = Output(as_json=json, quiet=quiet)
    with out.progress() as bar:
        questions = plan.questions(queries, k, bar)
        if dry_run:
            _show_estimate(out, plan.estimate(questions), len(questions))
            return
        measured, spent = plan.measure(questions, budget, bar)
    if measured is None:
        if not out.json(spent):
            out.line(f"Not done: {spent.stopped}; {_bill(spent)}")
            out.note("The same command goes on from here; with fewer --queries it uses what is paid for.")
        raise typer.Exit(130 if spent.stopped == INTERRUPTED else ProviderError.exit_code)
    result = plan.compare(questions, measured, spent, k=k, ragas_version=version, seed=seed)
    file = keep_answers(plan.tuned, result)
    if not out.json(result):
        _show(out, result)
        if file:
            out.note(f"Kept in {relative(file)}")
            out.next(f"uncited report {relative(plan.tuned)}")


class _Plan(NamedTuple):
    """What the command works on, read from the workspace, so that the database is open only where it is needed.

    `compares` is the model that says how alike questions are.
    """

    root: Path
    build: "Build"
    test: "HeldOut"
    references: "Mapping[str, str]"
    base: str
    tuned: Path
    compares: str
    asked: "AskedModel"
    metrics: "Sequence[AnswerMetric]"

    @property
    def folder(self) -> Path:
        """Where what was retrieved and what the model said is kept."""
        return self.root / "answers"

    @property
    def replies(self) -> Path:
        """The file with what the model said."""
        return self.folder / f"{self.build.build_id}.jsonl"

    def questions(self, queries: int, k: int, progress: "Progress") -> "list[Question]":
        """Retrieve for the test queries with both models."""
        from train.answers.chain import ask_about, retrieve

        retrieved = retrieve(self.test, self.base, str(self.tuned), kept_in=self.folder, progress=progress)
        return ask_about(self.test, self.references, retrieved, queries=queries, k=k)

    def estimate(self, questions: "Sequence[Question]") -> "Estimate":
        """Say what measuring would ask."""
        from labeling.completions import estimate_work
        from store.completions import CompletionFile
        from train.answers.comparison import measure_questions
        from train.answers.ragas_metrics import stand_in

        def work(ask: "Ask") -> "Awaitable[object]":
            return measure_questions(questions, self.metrics, ask, embed=lambda texts: [[1.0] for _ in texts])

        return estimate_work(self.asked, CompletionFile(self.replies), work, stand_in=stand_in)

    def measure(
        self, questions: "Sequence[Question]", budget: float | None, progress: "Progress"
    ) -> "tuple[list[Measured] | None, Spent]":
        """Ask, and measure; None where that was cut short."""
        from labeling.completions import work_with_model
        from store.builds import note_output
        from store.completions import CompletionFile
        from store.workspace import open_workspace
        from train.answers.chain import embedder
        from train.answers.comparison import measure_questions

        embed = embedder(self.compares) if any(metric.embeds for metric in self.metrics) else None

        def work(ask: "Ask") -> "Awaitable[list[Measured]]":
            return measure_questions(questions, self.metrics, ask, embed=embed, progress=progress)

        with open_workspace(self.root).open() as store, CompletionFile(self.replies) as kept:
            note_output(store, self.build.build_id, "answers", self.folder)
            return work_with_model(store, self.asked, kept, work, budget_usd=budget)

    def compare(
        self,
        questions: "Sequence[Question]",
        measured: "Sequence[Measured]",
        spent: "Spent",
        *,
        k: int,
        ragas_version: str,
        seed: int,
    ) -> "AnswerComparison":
        """Compare what was measured."""
        from train.answers.chain import BASE, TUNED
        from train.answers.comparison import AnswerComparison, Bill, compare_measured

        failures = sum((Counter(one.failures) for one in measured), Counter[str]())
        return AnswerComparison(
            build_id=self.build.build_id,
            models={BASE: self.base, TUNED: str(self.tuned)},
            llm=self.asked.model,
            base_url=self.asked.base_url,
            ragas_version=ragas_version,
            k=k,
            queries=len(questions),
            with_reference=sum(question.reference is not None for question in questions),
            same_chunks=sum(question.chunks[BASE] == question.chunks[TUNED] for question in questions),
            metrics=compare_measured(measured, self.metrics, seed=seed),
            failures=dict(failures),
            bill=Bill(
                spent.requests,
                spent.reused,
                spent.prompt_tokens,
                spent.completion_tokens,
                spent.cost_usd,
                spent.total_cost_usd,
            ),
            measured=tuple(measured),
        )


def _plan(
    root: Path,
    policy: str,
    build_id: str | None,
    model: Path | None,
    kind: str,
    base_model: str,
    metrics: "Sequence[AnswerMetric]",
    given: "Mapping[str, object]",
    *,
    dry_run: bool,
) -> _Plan:
    """Find what the options name; errors come before anything long."""
    from labeling.completions import asked_model
    from store.logged_answers import logged_answers
    from train.held_out import read_held_out
    from train.line_up import line_up

    with opened(root, as_json=False, quiet=True) as session:
        build = session.build(policy, build_id)
        tuned = model or session.workspace.model_folder(policy, build.build_id, kind)
        if not tuned.is_dir():
            raise MissingError(f"no model at {tuned}", hint=f"uncited train --policy {policy} --kind {kind}")
        settings = session.workspace.settings
        named = settings.answers.model_copy(update={key: value for key, value in given.items() if value is not None})
        asked = asked_model(named, settings.judge, settings.prices, section="answers", estimate=dry_run)
        test = read_held_out(session.store, build)
        references = logged_answers(session.store, build.build_id)
    base = line_up(tuned, base_model=base_model)["base"]
    return _Plan(root, build, test, references, base, tuned, named.similarity_model or base, asked, metrics)


def _show_estimate(out: "Output", estimate: "Estimate", queries: int) -> None:
    from printing import dollars

    if out.json(estimate):
        return
    row = (estimate.model, estimate.requests, estimate.prompt_tokens, estimate.completion_tokens)
    out.table(
        f"Would be asked about {queries} queries",
        ("model", "requests", "prompt tokens", "answer tokens", "cost"),
        [(*row, dollars(estimate.cost_usd))],
    )
    out.line(f"{estimate.known} replies are known. Estimated: what is asked depends on what is answered.")


def _show(out: "Output", result: "AnswerComparison") -> None:
    rows = []
    for metric in result.metrics:
        found = metric.difference
        gap = "" if found.value is None else f"{found.value:+.3f}"
        interval = "" if found.low is None else f"{found.low:+.3f} to {found.high:+.3f}"
        name = metric.name + (" ↓" if metric.lower_is_better else "")
        rows.append((name, metric.queries, metric.base, metric.tuned, gap, interval, found.verdict))
    columns = ("metric", "queries", "base", "tuned", "difference", "95 % interval", "verdict")
    out.table(f"Answers of {result.llm} from the best {result.k} chunks", columns, rows)
    if any(metric.lower_is_better for metric in result.metrics):
        out.line("↓ less is better: a gain is below zero")
    out.line(
        f"{result.queries} test queries, {result.with_reference} of them with a logged answer, which is the reference;"
        f" for {result.same_chunks} both models retrieve the same"
    )
    if result.failures:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(result.failures.items()))
        out.line(
            f"{sum(result.failures.values())} answers or values are missing, as there was no usable reply: {kinds}"
        )
    if "length" in result.failures:
        out.note("Replies were cut off (length): a larger max_tokens in [answers] of uncited.toml lets them end")
    out.line(_bill(result.bill))


def _bill(spent: "Spent | Bill") -> str:
    from printing import dollars

    cost = dollars(spent.cost_usd)
    if spent.reused:
        cost += f" ({dollars(spent.total_cost_usd)} with those)"
    return (
        f"{spent.requests:,} requests ({spent.reused:,} more replies were known),"
        f" {spent.prompt_tokens:,} prompt tokens, {spent.completion_tokens:,} answer tokens; {cost}"
    )
