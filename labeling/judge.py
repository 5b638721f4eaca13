"""The judge: a language model's answer about every candidate, as a judgment or as an error, never as a guess."""

import asyncio
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from labeling.endpoint import ANSWERED, TRANSIENT, Endpoint, Failure, Reply, Request
from labeling.judge_run import JudgeResult, Run, Work
from labeling.prompts import FEW_SHOT, PROMPT, ExamplePool, prompt_fingerprint
from labeling.recording import Header, Recorder, check_prompt, load_recording
from store.database import Store
from store.errors import MissingError, UsageError
from store.judgments import add_judge
from store.policies import Policy
from store.progress import Progress, silent
from store.workspace import JudgeSettings, Price, secret

OPENAI_URL = "https://api.openai.com/v1"


def judge_candidates(
    store: Store,
    policy: Policy,
    settings: JudgeSettings,
    prices: Mapping[str, Price],
    *,
    recording: Path | None = None,
    record_to: Path | None = None,
    limit: int | None = None,
    retry_errors: bool = False,
    pairs: Collection[str] | None = None,
    examples: ExamplePool | None = None,
    progress: Progress = silent,
) -> JudgeResult:
    """Ask about every candidate pair that this judge has not settled under this policy.

    Errors that no answer stands behind (timeouts, rate limits ...) are asked again by the next run; answers that
    could not be used only with `retry_errors`. Ctrl-C and SIGTERM end the run with what has been answered.

    Args:
        store: holds the candidates and takes the judgments.
        policy: what to ask.
        settings: which model, where, how many at a time.
        prices: dollars by model name.
        recording: answer from this file, whatever model the settings name; pairs that it lacks stay unjudged.
        record_to: write the replies to this file too, and ask for none that it holds.
        limit: stop after so many pairs.
        retry_errors: ask again also where an earlier answer was malformed, refused or cut off.
        pairs: ids of the only pairs to ask about; None for all candidates.
        examples: what people said about other anchors, shown with each pair; makes it another judge.
        progress: told of pairs.

    Raises:
        UsageError: no model, or a file to record to that was made with other settings.
        MissingError: neither key nor endpoint, or no such recording.
        InvalidDataError: the recording is damaged, or was made with another prompt.
        ProviderError: the endpoint refuses the key, the model or further credit, or is down; judgments so far stay.
    """
    header, replies, recorder = _sources(policy, settings, recording, record_to)
    config = {"model": header.model, "base_url": header.base_url, "prompt": PROMPT, "sampling": header.sampling}
    if examples:
        config["examples"] = {"set": examples.example_set_id, "prompt": FEW_SHOT}
    work = Work(
        policy=policy,
        model=header.model,
        judge_id=add_judge(store, config),
        sampling=header.sampling,
        price=None if recording else prices.get(header.model),
        retry=(*TRANSIENT, *ANSWERED) if retry_errors else TRANSIENT,
        limit=limit,
        pairs=pairs,
        examples=examples,
    )
    run = Run(store, work, recorder, progress)

    async def replay(request: Request) -> Reply | None:
        return replies.get(request.request_id)

    async def ask_live() -> None:
        key = secret(settings.api_key_env)
        async with Endpoint(
            header.base_url, key, timeout_s=settings.timeout_s, concurrency=settings.concurrency
        ) as endpoint:

            async def ask(request: Request) -> Reply | Failure:
                return replies.get(request.request_id) or await endpoint.ask(request)

            await run.go(ask, endpoint)

    asyncio.run(run.go(replay) if recording else ask_live())
    return run.result


def _sources(
    policy: Policy, settings: JudgeSettings, recording: Path | None, record_to: Path | None
) -> tuple[Header, Mapping[str, Reply], Recorder | None]:
    """Return what is asked of which model, the replies that are known already, and where to record new ones."""
    if recording is not None:
        if record_to is not None:
            raise UsageError("either answer from a recording or make one: give one of --recording and --record")
        known = load_recording(recording)
        check_prompt(known, recording, prompt_fingerprint(PROMPT, policy))
        return known.header, known.replies, None
    model, base_url = _target(settings, policy)
    header = Header(
        model=model,
        base_url=base_url,
        sampling={"temperature": 0, "max_tokens": settings.max_tokens, "seed": 1},
        policy=policy.name,
        prompt_fingerprint=prompt_fingerprint(PROMPT, policy),
        recorded_on=datetime.now(UTC).date().isoformat(),
        how=f"{model} at {base_url}",
    )
    if record_to is None:
        return header, {}, None
    recorder = Recorder(record_to, header)
    return header, recorder.recording.replies, recorder


def _target(settings: JudgeSettings, policy: Policy) -> tuple[str, str]:
    """Return model and base URL."""
    base_url = settings.base_url or os.environ.get("OPENAI_BASE_URL")  # which the SDK would read anyway
    if not base_url and secret(settings.api_key_env) is None:
        raise MissingError(
            f"no judge to ask: set {settings.api_key_env} in the environment, or name an OpenAI-compatible endpoint"
            " with --base-url or base_url in [judge] of uncited.toml",
            hint=f"uncited triage --policy {policy.name} (orders the review queue without a judge; it labels nothing)",
        )
    if not settings.model:
        raise UsageError(
            "no model to ask: set model in [judge] of uncited.toml, or give --model",
            hint=f"uncited judge --policy {policy.name} --model NAME",
        )
    url = urlsplit(base_url or OPENAI_URL)
    if url.scheme not in ("http", "https") or "@" in url.netloc:
        raise UsageError("the base URL must be like http://localhost:8080/v1, with no user or password in it")
    return settings.model, url.geturl().rstrip("/")
