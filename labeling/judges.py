"""Who a stage asks, and the configuration that names it: all that can change an answer, and nothing else."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from labeling.cross_encoder import cross_encoder
from labeling.prompts import DECISIONS, FEW_SHOT, PROMPT, ExamplePool
from labeling.scoring import Scorer
from labeling.triage import max_sentence
from store.errors import MissingError, UsageError
from store.policies import Policy
from store.workspace import JudgeSettings, JudgeStage, WriterSettings, secret

OPENAI_URL = "https://api.openai.com/v1"

_Writer = TypeVar("_Writer", bound=WriterSettings)


@dataclass(frozen=True, slots=True)
class Judge:
    """Who a stage asks. `config` is None where it gives scores and no labels."""

    stage: JudgeStage
    model: str
    base_url: str = ""  # "": on this machine
    sampling: Mapping[str, float | int] | None = None  # of a chat
    config: Mapping[str, object] | None = None
    scorer: Scorer | None = None  # of a model on this machine


def judges_of(
    settings: JudgeSettings, policy: Policy, examples: ExamplePool | None = None, *, estimate: bool = False
) -> tuple[Judge, ...]:
    """Return whom the stages ask about the pairs of a policy; nothing is sent or loaded. An `estimate` takes no key.

    Raises:
        UsageError: a stage has no model, or passes on or gives labels that the policy does not have.
        MissingError: neither key nor endpoint.
    """
    return tuple(
        _judge(number, stage, policy, examples, estimate=estimate)
        for number, stage in enumerate(settings.cascade, start=1)
    )


def _judge(number: int, stage: JudgeStage, policy: Policy, examples: ExamplePool | None, *, estimate: bool) -> Judge:
    names = {answer.name for answer in policy.answers}
    passed_on = set(stage.pass_on.labels) if stage.pass_on else set()
    unknown = sorted((passed_on - {"positive", "negative", "excluded"} | stage.thresholds.keys()) - names)
    if unknown:
        raise UsageError(
            f"stage {number} of the judge names {unknown[0]!r}; policy {policy.name} has the labels"
            f" {', '.join(sorted(names))}",
            hint=f"uncited policy show {policy.name}",
        )
    if stage.kind in ("triage", "cross-encoder"):
        if not stage.model:
            raise UsageError(f"stage {number} of the judge ({stage.kind}) has no model: give its folder or name")
        scorer = max_sentence(stage.model) if stage.kind == "triage" else cross_encoder(stage.model)
        config = (
            {"kind": stage.kind, "model": scorer.model, "thresholds": stage.thresholds} if stage.thresholds else None
        )
        return Judge(stage, scorer.model, config=config, scorer=scorer)
    base_url = _base_url(stage, policy, estimate=estimate)
    if not stage.model:
        raise UsageError(
            "no model to ask: set model in [judge] of uncited.toml, or give --model",
            hint=f"uncited judge --policy {policy.name} --model NAME",
        )
    if stage.kind == "chat":
        sampling = {"temperature": 0, "max_tokens": stage.max_tokens, "seed": 1}
        return chat_judge(stage, stage.model, base_url, sampling, examples)
    asked = {"kind": stage.kind, "model": stage.model, "base_url": base_url, "prompt": PROMPT, "decisions": DECISIONS}
    return Judge(stage, stage.model, base_url, config={**asked, **_shown(examples)})


def chat_judge(
    stage: JudgeStage,
    model: str,
    base_url: str,
    sampling: Mapping[str, float | int],
    examples: ExamplePool | None = None,
) -> Judge:
    """Return the judge that a chat model is when it is asked with these parameters."""
    config = {"model": model, "base_url": base_url, "prompt": PROMPT, "sampling": sampling, **_shown(examples)}
    return Judge(stage, model, base_url, sampling, config)


def _shown(examples: ExamplePool | None) -> dict[str, object]:
    return {"examples": {"set": examples.example_set_id, "prompt": FEW_SHOT}} if examples else {}


def writing_model(
    settings: _Writer,
    judge: JudgeSettings,
    *,
    section: str,
    task: str,
    option: str,
    hint: str | None = None,
    estimate: bool = False,
) -> tuple[str, str, _Writer]:
    """Return the name of a model that writes, its endpoint's address, and its settings; nothing is sent.

    Where the settings name no model, it is that of the last of the judge's stages that chats.

    Args:
        settings: of a section of `uncited.toml`.
        judge: who may lend its model.
        section: the section's name.
        task: what the model is to do, as messages say it.
        option: of the command that names a model.
        hint: the next command where none is named.
        estimate: nobody will be asked, so no key is needed.

    Raises:
        UsageError: no model is named, or the address is none.
        MissingError: neither key nor endpoint.
    """
    chats = next((stage for stage in reversed(judge.cascade) if stage.kind == "chat" and stage.model), None)
    if settings.model is None and chats:
        lent = {
            "model": chats.model,
            "base_url": settings.base_url or chats.base_url,
            "api_key_env": settings.api_key_env if settings.base_url else chats.api_key_env,
        }
        settings = settings.model_copy(update=lent)
    if not settings.model:
        raise UsageError(
            f"no model to {task}: set model in [{section}] of uncited.toml, or give {option}",
            hint=hint,
        )
    base_url = endpoint_url(settings.base_url, settings.api_key_env) or (OPENAI_URL if estimate else None)
    if base_url is None:
        raise MissingError(
            f"nobody to {task}: set {settings.api_key_env} in the environment, or name an OpenAI-compatible endpoint"
            f" with --base-url or base_url in [{section}] of uncited.toml"
        )
    return settings.model, base_url, settings


def endpoint_url(base_url: str | None, api_key_env: str) -> str | None:
    """Return the address of the endpoint that is configured; None where there is neither an address nor a key.

    Raises:
        UsageError: it is no address of a server.
    """
    base_url = base_url or os.environ.get("OPENAI_BASE_URL")  # which the SDK would read anyway
    if not base_url and secret(api_key_env) is None:
        return None
    url = urlsplit(base_url or OPENAI_URL)
    if url.scheme not in ("http", "https") or "@" in url.netloc:
        raise UsageError("the base URL must be like http://localhost:8080/v1, with no user or password in it")
    return url.geturl().rstrip("/")


def _base_url(stage: JudgeStage, policy: Policy, *, estimate: bool) -> str:
    base_url = endpoint_url(stage.base_url, stage.api_key_env) or (OPENAI_URL if estimate else None)
    if base_url is None:
        raise MissingError(
            f"no judge to ask: set {stage.api_key_env} in the environment, or name an OpenAI-compatible endpoint"
            " with --base-url or base_url in [judge] of uncited.toml",
            hint=f"uncited triage --policy {policy.name} (orders the review queue without a judge; it labels nothing)",
        )
    return base_url
