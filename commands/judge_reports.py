"""What judges were asked, what it cost, and what their answers are worth."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, PolicyOption, QuietOption, WorkspaceOption, opened
from store.errors import UsageError

if TYPE_CHECKING:
    from labeling.judge_calibration import JudgeCalibration
    from labeling.judge_comparison import Compared
    from labeling.judgment_history import PairHistory
    from labeling.query_bootstrap import Estimate
    from printing import Output

_SEED = 0  # of the resampling behind intervals, so that the same reviews print the same numbers


def show(
    pair: Annotated[str | None, typer.Argument(help="Id of a pair, or its beginning.")] = None,
    query: Annotated[str | None, typer.Option(help="The query's text, or the log's id of it.")] = None,
    chunk: Annotated[str | None, typer.Option(help="The chunk's id, the log's or our own.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print the exact prompts that were sent about a pair, and every answer as it came."""
    from labeling.judgment_history import pair_history
    from store.judgment_history import find_pair, find_pair_by_texts

    if (pair is None) == (query is None) or (query is None) != (chunk is None):
        raise UsageError("which pair? give its id, or both --query and --chunk", hint="uncited judge show PAIR")
    with opened(workspace, as_json=json, quiet=quiet) as session:
        found = find_pair(session.store, pair) if pair else find_pair_by_texts(session.store, str(query), str(chunk))
        history = pair_history(session.store, found)
        if not session.out.json(history):
            _print_history(session.out, history)


def _print_history(out: "Output", history: "PairHistory") -> None:
    count = len(history.judgments)
    out.line(f"{history.pair.pair_id}: {count} judgment{'' if count == 1 else 's'}")
    shown: set[str] = set()
    for judgment in history.judgments:
        prompt = history.prompts[str(judgment["prompt_id"])]
        if prompt.prompt_id not in shown:
            shown.add(prompt.prompt_id)
            out.line(f"\n--- {prompt.prompt_id}" + (f": cannot be shown: {prompt.reason}" if prompt.reason else ""))
            for message in prompt.messages or ():
                out.line(f"[{message['role']}]\n{message['content']}")
        out.line(f"\n--- {judgment['judged_at']} {judgment['policy'] or judgment['labelling_fingerprint']}")
        asked = judgment["model"] if judgment["answered_model"] is None else judgment["answered_model"]
        out.line(f"judge: {judgment['judge_id']}, answered by {asked} at {judgment['base_url']}")
        for name in ("label", "error", "confidence", "reason", "quote"):
            if judgment[name] is not None:
                missing = " (not in the chunk)" if name == "quote" and judgment["quote_found"] is False else ""
                out.line(f"{name}: {judgment[name]}{missing}")
        if judgment["relevance"] is not None:
            out.line(f"chance of relevance, calibrated against people: {judgment['relevance']:.2f}")
        out.line(f"raw answer: {judgment['raw_answer']}")
        cost = "unknown" if judgment["cost_usd"] is None else f"${judgment['cost_usd']:.6f}"
        tokens = ", ".join(
            f"{'?' if judgment[name] is None else judgment[name]} {name.removesuffix('_tokens')}"
            for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
        )
        out.line(f"tokens: {tokens}; cost: {cost}; time: {judgment['duration_ms']} ms")


def costs(
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="Only of this policy.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Add up what judges and writers of questions were asked and what it cost, by policy, model and day."""
    from store.judge_costs import judge_costs

    with opened(workspace, as_json=json, quiet=quiet) as session:
        if policy is not None:
            session.policy(policy)  # which says so where there is none
        rows = judge_costs(session.store, policy)
        if session.out.json(rows):
            return
        if not rows:
            session.out.line("No model was asked anything yet")
            return
        columns = ("policy", "stage", "model", "day", "calls", "failed", "tokens in", "out", "cost")
        judges = Counter(_line_of(row) for row in rows)
        session.out.table("What models were asked", columns, [_cost_row(row, judges) for row in rows])
        unpriced = sum(int(str(row["unpriced"])) for row in rows)
        total = sum(float(str(row["cost_usd"])) for row in rows)
        session.out.line(f"{sum(int(str(row['calls'])) for row in rows):,} calls, {_dollars(total, unpriced)}")
        if unpriced:
            session.out.line(
                f"{unpriced:,} answers have no price: a recording gave them, or [prices] lacks their models"
            )


def _line_of(row: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(row[name] for name in ("policy", "stage", "model", "purpose", "day"))


def _cost_row(row: Mapping[str, object], judges: Counter[tuple[object, ...]]) -> tuple[object, ...]:
    besides = {"calibrate": " (asked again to calibrate)", "synthesize": " (wrote questions)"}
    judge = f"{row['model']}{besides.get(str(row['purpose']), '')}"
    if judges[_line_of(row)] > 1:
        judge += f" at {row['base_url']}, {str(row['judge_id'])[:14]}"
    tokens_in = f"{row['prompt_tokens']:,}" + (f" ({row['cached_tokens']:,} cached)" if row["cached_tokens"] else "")
    thought = f" ({row['reasoning_tokens']:,} reasoning)" if row["reasoning_tokens"] else ""
    return (
        *(row["policy"], row["stage"], judge, row["day"], row["calls"], row["failed"]),
        *(tokens_in, f"{row['completion_tokens']:,}{thought}"),
        _dollars(float(str(row["cost_usd"])), row["unpriced"]),
    )


def _dollars(cost: float, unpriced: object) -> str:
    return f"${cost:.4f}" + (" + ?" if unpriced else "")


def compare(
    policy: PolicyOption,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare judges with and without people's examples, on reviews that neither has seen."""
    import numpy as np

    from labeling.judge_comparison import compare_judges

    with opened(workspace, as_json=json, quiet=quiet) as session:
        resolution = session.workspace.settings.review.resolution
        rng = np.random.default_rng(_SEED)
        compared = compare_judges(session.store, session.policy(policy), rng=rng, resolution=resolution)
        if not session.out.json(compared):
            for one in compared:
                _print_compared(session.out, one)


def _print_compared(out: "Output", compared: "Compared") -> None:
    out.table(
        f"{compared.model} against people",
        ("measure", "without examples", "with examples", "gain", "claim"),
        [
            (
                name,
                interval(getattr(compared.zero_shot, name)),
                interval(getattr(compared.few_shot, name)),
                interval(getattr(compared.gain, name)),
                compared.claims[name],
            )
            for name in ("agreement", "kappa", "auc")
        ],
    )
    out.line(
        f"{compared.gain.pairs} pairs of {compared.gain.queries} held-out queries, {compared.blind} of them reviewed"
        " blind; 95 % intervals by query, those of the gain paired"
    )


def calibrate(
    policy: PolicyOption,
    asks: Annotated[
        int, typer.Option(min=0, max=20, help="Ask a judge without probabilities so often again, labels reordered.")
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="Draw reliability diagrams to this .png or .svg file.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Hold judges' confidence against people's labels, and correct it where that helps."""
    import numpy as np

    from labeling.judge_calibration import calibrate_judges, draw
    from labeling.permuted_asks import ask_again

    with opened(workspace, as_json=json, quiet=quiet) as session:
        asked, settings = session.policy(policy), session.workspace.settings
        if asks:
            with session.out.progress() as bar:
                ask_again(session.store, asked, settings.judge, settings.prices, asks=asks, progress=bar)
        rng, resolution = np.random.default_rng(_SEED), settings.review.resolution
        done = calibrate_judges(session.store, asked, rng=rng, resolution=resolution)
        if out:
            draw(done, out)
        if not session.out.json(done):
            for one in done:
                _print_calibration(session.out, one)


def _print_calibration(out: "Output", done: "JudgeCalibration") -> None:
    found = done.calibration
    out.table(
        f"{done.model}: chance of relevance, from {done.confidence}",
        ("pairs", "judge says", "people say", "95 % interval"),
        [(b.pairs, b.predicted, b.relevant, f"{b.low:.3f} to {b.high:.3f}") for b in found.curve],
    )
    out.line(f"Brier score {interval(found.brier)}, calibration error {interval(found.ece)}")
    if found.brier_after and found.ece_after:
        out.line(f"with the map {interval(found.brier_after)} and {interval(found.ece_after)}, on queries left out")
    out.line(f"{found.reason}; {done.reviews}; {found.queries} queries; {done.unsure} pairs unsure or excluded")


def interval(estimate: "Estimate") -> str:
    """Write an estimate with its interval, or why there is none."""
    if estimate.value is None:
        return estimate.reason or "unknown"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f} ({estimate.reason})"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
