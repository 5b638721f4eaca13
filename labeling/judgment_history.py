"""What a judge was asked about a pair, letter by letter, and what it said."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from labeling.decision_stage import decision_body, decision_prompt_id
from labeling.few_shot import FrozenExamples
from labeling.judge_calibration import calibrated_relevance
from labeling.prompts import Message, Prompt, messages
from store.database import Store
from store.errors import MissingError
from store.ids import content_id
from store.judge_queue import PairToJudge
from store.judgment_history import StoredPair, judgments_of_pair
from store.policies import Example, Policy, get_policy_by_id


@dataclass(frozen=True, slots=True)
class SentPrompt:
    """A prompt rendered again. `messages` is None where `reason` says why that is no longer possible."""

    prompt_id: str
    messages: tuple[Message, ...] | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PairHistory:
    """A pair, the judgments of it (columns of the table, with model and policy), the oldest first, and their prompts.

    `relevance` of a judgment is its calibrated chance of relevance, None where no calibration says anything. Every
    judgment's `prompt_id` is a key of `prompts`.
    """

    pair: StoredPair
    judgments: tuple[Mapping[str, object], ...]
    prompts: Mapping[str, SentPrompt]


def pair_history(store: Store, pair: StoredPair) -> PairHistory:
    """Return all that judges were asked about a pair and answered."""
    shown, prompts = [], {}
    for row in judgments_of_pair(store, pair.pair_id):
        config = json.loads(str(row.pop("config")))
        prompt_id = str(row["prompt_id"])
        if prompt_id not in prompts:
            prompts[prompt_id] = _render(store, pair, row, config)
        named = {"model": config.get("model"), "base_url": config.get("base_url")}
        shown.append({**row, **named, "relevance": _relevance(store, row)})
    return PairHistory(pair, tuple(shown), prompts)


def _relevance(store: Store, judgment: Mapping[str, object]) -> float | None:
    if judgment["label"] is None or judgment["policy_id"] is None:
        return None
    policy = get_policy_by_id(store, str(judgment["policy_id"]))
    calibrated = calibrated_relevance(store, policy, str(judgment["judge_id"]))
    confidence = judgment["confidence"]
    known = float(confidence) if isinstance(confidence, float) else None
    return calibrated(str(judgment["label"]), known) if calibrated else None


def _render(store: Store, pair: StoredPair, judgment: Mapping[str, object], config: Mapping[str, object]) -> SentPrompt:
    """Render a prompt from what is stored, and believe it only if its hash is that of the prompt sent."""
    prompt_id = str(judgment["prompt_id"])
    if judgment["policy_id"] is None:
        return SentPrompt(prompt_id, None, "the policy is not in this workspace")
    if "prompt" not in config:
        return SentPrompt(prompt_id, None, "this judge reads the two texts, and no prompt")
    shown = None
    if "examples" in config:
        frozen = cast("Mapping[str, object]", config["examples"])
        try:
            shown = FrozenExamples(store, str(frozen["set"])).nearest(pair.anchor)
        except MissingError as error:
            return SentPrompt(prompt_id, None, error.message)
    policy = get_policy_by_id(store, str(judgment["policy_id"]))
    reference = None if judgment["reference"] is None else str(judgment["reference"])
    asked = PairToJudge(pair.pair_id, pair.anchor, pair.chunk, "", reference, None)
    if config.get("kind") == "decisions":
        rendered, rendered_id = _decision(policy, asked, shown)
    else:
        prompt = cast("Prompt", config["prompt"])
        rendered = messages(prompt, policy, anchor=pair.anchor, chunk=pair.chunk, reference=reference, examples=shown)
        rendered_id = content_id("prompt", list(rendered))
    if rendered_id != prompt_id:
        return SentPrompt(prompt_id, None, "the way prompts are put together has changed since it was sent")
    return SentPrompt(prompt_id, rendered)


def _decision(
    policy: Policy, asked: PairToJudge, examples: tuple[Example, ...] | None
) -> tuple[tuple[Message, ...], str]:
    """Render what the Decisions API was sent about one pair: the input, and the question as a message of its own."""
    body = decision_body(policy, "", [asked], examples)
    (question,) = body["questions"]
    rendered = [Message(role=part["role"], content=part["content"]) for part in body["input"]]
    rendered.append(Message(role="question", content=question["instructions"]))
    return tuple(rendered), decision_prompt_id(body, question)
