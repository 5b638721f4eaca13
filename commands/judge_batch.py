"""The judge by Batch API: half the price, within a day."""

from typing import TYPE_CHECKING, Annotated

import typer

from commands.judge import examples_to_show, judge_settings
from commands.session import (
    HERE,
    JsonOption,
    PolicyOption,
    QuietOption,
    Session,
    WorkspaceOption,
    opened,
)
from store.errors import UsageError

if TYPE_CHECKING:
    from labeling.batch import BatchJudge, BatchState
    from labeling.batch_api import BatchApi
    from labeling.batch_results import Collected
    from printing import Output

app = typer.Typer(help="Hand the candidates to an endpoint's Batch API: half the price, within a day.")

ModelOption = Annotated[str | None, typer.Option(help="The model, as its endpoint names it.")]
BaseUrlOption = Annotated[str | None, typer.Option(help="An endpoint that has a Batch API.")]
FewShotOption = Annotated[
    int | None, typer.Option(min=1, max=32, help="Show so many examples from people's reviews of other queries.")
]


@app.command()
def submit(
    policy: PolicyOption,
    model: ModelOption = None,
    base_url: BaseUrlOption = None,
    few_shot: FewShotOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Submit so many pairs at most.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Submit every pair that the judge has not answered. Until they are collected, nobody else is asked about them."""
    from labeling.batch import submit as hand_over
    from labeling.judge import judge_candidates
    from store.endpoint_forms import known_form

    with opened(workspace, as_json=json, quiet=quiet) as session:
        session.mined_policy(policy)  # which says so where there is nothing to ask
        judge = _judge(session, policy, model, base_url, few_shot)
        with session.out.progress() as bar, _api(session, judge.base_url) as api:
            if known_form(session.store, judge.base_url, judge.questions.model) is None:
                # One pair at full price: a form that the server refuses would fail the whole batch.
                judge_candidates(
                    session.store,
                    judge.questions.policy,
                    judge_settings(session.workspace.settings.judge, model, base_url, None),
                    session.workspace.settings.prices,
                    examples=judge.questions.examples,
                    limit=1,
                )
            states = hand_over(session.store, judge, api, limit=limit, progress=bar)
        if not session.out.json(states):
            _print_states(session.out, states)
            if states:
                session.out.line("the endpoint answers within 24 hours, at half the price of single requests")
                session.out.next("uncited judge batch collect")


@app.command()
def status(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Look at the batches that were not collected yet."""
    from labeling.batch import batch_states

    with opened(workspace, as_json=json, quiet=quiet) as session:
        states = batch_states(session.store, lambda base_url: _api(session, base_url))
        if not session.out.json(states):
            _print_states(session.out, states)


def _print_states(out: "Output", states: "list[BatchState]") -> None:
    if not states:
        out.line("No batch is open")
        return
    out.table(
        "Open batches",
        ("batch", "policy", "submitted", "status", "requests", "done", "failed"),
        [
            (s.batch_id, s.policy, f"{s.submitted_at:%Y-%m-%d %H:%M}", s.status, s.requests, s.done, s.failed)
            for s in states
        ],
    )


@app.command()
def collect(
    batch: Annotated[str | None, typer.Argument(help="The endpoint's id of a batch; default: all open ones.")] = None,
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="Of a batch submitted from elsewhere.")] = None,
    model: ModelOption = None,
    base_url: BaseUrlOption = None,
    few_shot: FewShotOption = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn what batches brought into judgments. A batch may have been submitted from another machine."""
    from labeling.batch_results import collect as take
    from store.batches import find_submission, submissions

    with opened(workspace, as_json=json, quiet=quiet) as session:
        wanted = [batch] if batch else [s.batch_id for s in submissions(session.store) if s.batch_id]
        now = _judge(session, policy, model, base_url, few_shot) if policy else None
        collected = []
        for batch_id in wanted:
            known = find_submission(session.store, batch_id)
            address = (
                known.base_url
                if known
                else (
                    now.base_url
                    if now
                    else judge_settings(session.workspace.settings.judge, model, base_url, None).base_url
                )
            )
            if address is None:
                raise UsageError(
                    f"batch {batch_id} was submitted from elsewhere: say where it is with --base-url",
                    hint=f"uncited judge batch collect {batch_id} --policy NAME --base-url https://api.openai.com/v1",
                )
            with _api(session, address) as api:
                prices = session.workspace.settings.prices
                collected.append(take(session.store, api, batch_id, prices, judge=now))
        if not session.out.json(collected):
            _print_collected(session.out, collected)


def _print_collected(out: "Output", collected: "list[Collected]") -> None:
    if not collected:
        out.line("No batch is open")
    for one in collected:
        if one.running:
            out.line(f"{one.batch_id} still runs ({one.status})")
            continue
        cost = "cost unknown" if one.cost_usd is None else f"${one.cost_usd:.4f} at half price"
        out.line(f"{one.batch_id} ({one.status}): {one.labels.total()} labels, {one.errors.total()} errors; {cost}")
        if one.problem:
            out.line(f"the endpoint said: {one.problem}")
        if one.released:
            out.line(f"{one.released} pairs got no answer; the next run of the judge asks about them")
        if one.unknown:
            out.line(f"{one.unknown} answers are about pairs that this workspace does not hold")


def _judge(
    session: Session, policy_name: str, model: str | None, base_url: str | None, few_shot: int | None
) -> "BatchJudge":
    """Return whom `uncited judge` would ask first."""
    from labeling.batch import batch_judge

    policy = session.policy(policy_name)
    examples = examples_to_show(session, policy, few_shot) if few_shot else None
    return batch_judge(
        session.store, policy, judge_settings(session.workspace.settings.judge, model, base_url, None), examples
    )


def _api(session: Session, base_url: str) -> "BatchApi":
    from labeling.batch_api import BatchApi
    from store.workspace import secret

    settings = session.workspace.settings.judge
    stage = next((stage for stage in settings.cascade if stage.base_url == base_url), settings.cascade[0])
    return BatchApi(base_url, secret(stage.api_key_env), timeout_s=stage.timeout_s)
