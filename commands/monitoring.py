"""How good retrieval is, week by week."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from commands.judge import judge_settings
from commands.session import HERE, JsonOption, PolicyOption, QuietOption, Session, WorkspaceOption, opened
from store.errors import ProviderError

if TYPE_CHECKING:
    from labeling.monitor import MonitorEstimate, MonitorReport, MonitorRun, Precision
    from labeling.prevalence import Estimated
    from printing import Output
    from store.policies import Policy
    from store.workspace import JudgeSettings


def monitor(
    policy: PolicyOption,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the new interactions, drawn by chance.")] = 0.05,
    depth: Annotated[int, typer.Option("--depth", "-k", min=1, help="So many chunks of each list.")] = 10,
    per: Annotated[Literal["day", "week", "month"], typer.Option(help="Length of a period.")] = "week",
    by: Annotated[str, typer.Option(help="Kinds of query: length, source, or a field of the log's own.")] = "length",
    plot: Annotated[Path | None, typer.Option(help="Draw it to this .png or .svg file.")] = None,
    agenda: Annotated[int, typer.Option(min=0, help="At most so many queries and documents.")] = 10,
    model: Annotated[str | None, typer.Option(help="The model, as its endpoint names it.")] = None,
    base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Stop before the run costs more dollars.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and price; draw and send nothing.")] = False,
    report_only: Annotated[bool, typer.Option("--report-only", help="Draw and judge nothing.")] = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Judge a share of new traffic, and tell precision over time and what to look at in the weekly review."""
    from labeling.monitor import check_segments, estimate_monitoring
    from labeling.monitor import report as measure
    from labeling.monitor_plot import draw

    with opened(workspace, as_json=json, quiet=quiet) as session:
        settings, chosen, out = session.workspace.settings, session.policy(policy), session.out
        judge = judge_settings(settings.judge, model, base_url, None)
        check_segments(session.store, by)
        if dry_run:
            estimate = estimate_monitoring(session.store, chosen, judge, settings.prices, share=share, depth=depth)
            if not out.json(estimate):
                _print_estimate(out, estimate, policy)
            return
        done = None if report_only else _run(session, chosen, judge, share=share, depth=depth, budget=budget)
        resolution = settings.review.resolution
        found = measure(session.store, chosen, depth=depth, per=per, by=by, resolution=resolution, agenda=agenda)
        if not out.json({"run": done, "report": found}):
            if done:
                _print_run(out, done, policy)
            _print_report(out, found, per=per, by=by)
            _print_agenda(out, found)
        if plot:
            draw(found, plot)
    if done and done.judged and done.judged.interrupted:
        raise typer.Exit(130)
    if done and done.judged and done.judged.budget_spent:
        raise typer.Exit(ProviderError.exit_code)


def _run(
    session: Session, policy: "Policy", judge: "JudgeSettings", *, share: float, depth: int, budget: float | None
) -> "MonitorRun":
    from labeling.monitor import draw_and_judge

    prices = session.workspace.settings.prices
    with session.out.progress() as bar:
        return draw_and_judge(
            session.store, policy, judge, prices, share=share, depth=depth, budget_usd=budget, progress=bar
        )


def _print_estimate(out: "Output", estimate: "MonitorEstimate", policy: str) -> None:
    from printing import dollars

    out.line(f"{estimate.new_traffic:,} new interactions, of which {estimate.drawn:,} would be drawn")
    rows = [(s.model, s.pairs, s.prompt_tokens, s.completion_tokens, dollars(s.cost_usd)) for s in estimate.stages]
    if rows:
        out.table("Would be asked", ("model", "pairs", "prompt tokens", "answer tokens", "cost"), rows)
    _print_not_mined(out, estimate.not_mined, policy)


def _print_run(out: "Output", done: "MonitorRun", policy: str) -> None:
    from printing import dollars

    out.line(f"{done.drawn:,} of {done.new_traffic:,} new interactions drawn")
    if done.judged:
        errors = done.judged.errors.total()
        out.line(f"{done.judged.judged:,} chunks judged, {errors} errors; {dollars(done.judged.cost_usd)}")
        if done.judged.remaining:
            out.line(f"{done.judged.remaining} chunks remain; run the same command again to go on")
    _print_not_mined(out, done.not_mined, policy)


def _print_not_mined(out: "Output", not_mined: int, policy: str) -> None:
    if not_mined:
        out.line(f"{not_mined:,} interactions are not mined under the policy, and were not looked at")
        out.next(f"uncited mine --policy {policy}")


def _print_report(out: "Output", found: "MonitorReport", *, per: str, by: str) -> None:
    columns = ("drawn", "measured", f"precision@{found.depth}", "95 % interval", "nothing relevant")
    out.table(f"Precision by {per}", (per, *columns), _rows([*found.periods, found.overall]))
    out.table(f"Precision by {by}", (by, *columns), _rows(found.segments))
    if any(one.precision.reason for one in (*found.periods, found.overall, *found.segments)):
        out.note("-: too few queries, or too little that differs, for an interval (--json says which)")
    if found.judge is None:
        out.line("By the judge's labels. How often it is wrong is not known: its audit is not answered yet.")
    else:
        wrong = _share(found.judge.wrong)
        out.line(f"By the judge's labels; of {found.judge.reviews} audited pairs it gets {wrong} wrong.")
    if found.assisted:
        out.line(
            f"With the {found.assisted.reviews} of these chunks that people answered blind,"
            f" {_share(found.assisted.relevant)} of the {found.assisted.pairs:,} are relevant."
        )
    if len(found.judges) > 1:
        out.line(f"{len(found.judges)} judges gave these labels: a step from one to another may be theirs")


def _print_agenda(out: "Output", found: "MonitorReport") -> None:
    from labeling.untrusted_text import one_line

    queries = [(one_line(q.query, 70), q.why, q.asked, q.precision, q.score) for q in found.agenda.queries]
    if queries:
        out.table("Queries to look at", ("query", "why", "asked", "precision", "best score"), queries)
    documents = [
        (one_line(d.document, 40), d.why, d.queries, d.relevant, d.score, one_line(d.example, 50))
        for d in found.agenda.documents
    ]
    if documents:
        columns = ("document", "why", "queries", "relevant", "mean score", "for example")
        out.table("Documents to look at", columns, documents)


def _rows(measured: "Sequence[Precision]") -> list[tuple[object, ...]]:
    from printing import percent

    rows: list[tuple[object, ...]] = []
    for one in measured:
        low, high = one.precision.low, one.precision.high
        interval = "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        none = "" if one.none_relevant is None else percent(one.none_relevant)
        rows.append((one.name, one.interactions, one.measured, one.precision.value, interval, none))
    return rows


def _share(estimated: "Estimated") -> str:
    from printing import percent

    best = estimated.assisted or estimated.plain
    return f"{percent(best.value)} (95 % interval {percent(best.low)} to {percent(best.high)})"
