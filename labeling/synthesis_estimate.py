"""What `uncited synthesize` would ask and cost, with nothing sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from labeling.answers import cost_usd
from labeling.chat_stage import Questions
from labeling.dry_run import CHARACTERS_A_TOKEN
from labeling.judges import Judge, judges_of
from labeling.question_prompt import QUESTIONS
from labeling.question_writer import asked_about, writer_of
from labeling.synthesis import SCALES, judge_of, next_chunks, requests_needed
from store.candidates import chunk_texts
from store.database import Store
from store.generations import unread_answers, writing_habits
from store.judge_queue import PairToJudge
from store.judgments import token_habits
from store.policies import Policy
from store.synthetic import Purpose, count_accepted, waiting_questions
from store.workspace import JudgeSettings, Price, SynthesisSettings

_TYPICAL_QUESTION = "How can I do what this is about, if I only know what I want in the end?"
_TOKENS_A_QUESTION = 30


@dataclass(frozen=True, slots=True)
class SynthesisEstimate:
    """What would be asked of one model. Tokens are estimates; `cost_usd` is None where no price is known."""

    task: str  # write or judge
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


def estimate_synthesis(
    store: Store,
    policy: Policy,
    purpose: Purpose,
    settings: SynthesisSettings,
    judge: JudgeSettings,
    prices: Mapping[str, Price],
    *,
    count: int | None = None,
    seed: int = 0,
) -> list[SynthesisEstimate]:
    """Say what `labeling.synthesis.synthesize` would ask; arguments and errors are as there.

    The chunks are those that would be asked about; how many of them it takes, and how long the answers are, is what
    earlier runs tell, else a guess: four of five questions will do. Each question that is wanted is judged once by
    every stage, more often where the judge rejects some.
    """
    writer = writer_of(settings, judge, prices, policy, purpose, estimate=True)
    wanted = SCALES[purpose] if count is None else count
    shortage = max(0, wanted - count_accepted(store, policy.name, purpose))
    waiting = waiting_questions(store, policy.name, purpose, shortage)
    lacking = shortage - len(waiting)
    needed = requests_needed(store, policy, purpose, writer.model, lacking)
    needed = max(0, needed - len(unread_answers(store, policy.name, purpose)))
    chunks = next_chunks(store, policy, needed, seed=seed) if needed else []
    habits = writing_habits(store, policy.name, purpose, writer.model)
    characters = sum(asked_about(writer, policy, chunk).request.characters for chunk in chunks)
    prompt_tokens = round(characters / (habits.characters_a_token or CHARACTERS_A_TOKEN))
    completion_tokens = round(len(chunks) * (habits.completion_tokens or QUESTIONS * _TOKENS_A_QUESTION))
    cost = cost_usd(writer.price, prompt_tokens, 0, completion_tokens)
    written = SynthesisEstimate("write", writer.model, len(chunks), prompt_tokens, completion_tokens, cost)
    waiting_for = chunk_texts(store, pa.array({question.chunk_id for question in waiting}, pa.string()))
    texts = [chunk.text for chunk in chunks] + [*waiting_for.values()]
    judged = [
        _estimate_judge(store, policy, stage, prices.get(stage.model), texts, shortage)
        for stage in judges_of(judge_of(judge, writer), policy, estimate=True)
        if stage.base_url and stage.config is not None
    ]
    return [written, *judged]


def _estimate_judge(
    store: Store, policy: Policy, judge: Judge, price: Price | None, chunks: Sequence[str], pairs: int
) -> SynthesisEstimate:
    questions = Questions(policy, judge.model, judge.sampling or {"max_tokens": 0})
    asked = [questions.about(PairToJudge("", _TYPICAL_QUESTION, chunk, "", None, None)).characters for chunk in chunks]
    mean = sum(asked) / len(asked) if asked else 0.0
    assert judge.config is not None
    habits = token_habits(store, judge.config)
    prompt_tokens = round(pairs * mean / (habits.characters_a_token or CHARACTERS_A_TOKEN))
    longest = judge.stage.max_tokens if judge.sampling else 1
    completion_tokens = round(pairs * (longest if habits.completion_tokens is None else habits.completion_tokens))
    cost = cost_usd(price, prompt_tokens, 0, completion_tokens)
    return SynthesisEstimate("judge", judge.model, pairs, prompt_tokens, completion_tokens, cost)
