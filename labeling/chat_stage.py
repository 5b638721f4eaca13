"""A stage that asks a model by chat completion, one pair a request, or looks the answer up in a recording."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from labeling.answers import judgment_of
from labeling.budget import most_it_can_cost
from labeling.chat import ChatModel, Reply, Request, request_body
from labeling.endpoint import Failure
from labeling.prompts import PROMPT, ExamplePool, answer_schema, messages
from labeling.stages import Answered
from store.errors import UsageError
from store.judge_queue import PairToJudge
from store.policies import Policy
from store.workspace import Price

_AT_ONCE_FROM_RECORDING = 256


@dataclass(frozen=True)
class Questions:
    """How a model is asked about the pairs of a policy: all of a request but the pair."""

    policy: Policy
    model: str
    sampling: Mapping[str, float | int]
    examples: ExamplePool | None = None
    schema: Mapping[str, object] = field(init=False)
    loose_schema: Mapping[str, object] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the schemas once."""
        object.__setattr__(self, "schema", answer_schema(PROMPT, self.policy))
        object.__setattr__(self, "loose_schema", answer_schema(PROMPT, self.policy, bounded=False))

    def about(self, pair: PairToJudge) -> Request:
        """Return the request about one pair."""
        shown = messages(
            PROMPT,
            self.policy,
            anchor=pair.anchor,
            chunk=pair.chunk,
            reference=pair.reference,
            examples=self.examples.nearest(pair.anchor) if self.examples else None,
        )
        return Request(self.model, shown, self.schema, self.loose_schema, self.sampling)


@dataclass(frozen=True, slots=True)
class ChatStage:
    """See `labeling.stages.Stage`. Without a `chat` only what `replies` holds is answered."""

    questions: Questions
    judge_id: str
    price: Price | None
    concurrency: int
    chat: ChatModel | None
    replies: Mapping[str, Reply] = field(default_factory=dict)  # known already, by the id of their request

    @property
    def at_once(self) -> int:
        """The first request goes alone, until a reply shows which form the server takes."""
        if self.chat is None:
            return _AT_ONCE_FROM_RECORDING
        return min(self.concurrency, self.chat.endpoint.limit) if self.chat.proven else 1

    @property
    def resume_at(self) -> float:
        """What the server asked for."""
        return self.chat.endpoint.resume_at if self.chat else 0.0

    def next_batch(self, queue: deque[PairToJudge]) -> list[PairToJudge]:
        """One pair at a time."""
        return [queue.popleft()]

    def most_usd(self, batch: Sequence[PairToJudge]) -> float:
        """Price the request as it would be sent, and the longest answer.

        Raises:
            UsageError: the server takes no limit on the length of an answer.
        """
        if self.price is None or self.chat is None:
            return 0.0
        if {"max_tokens", "max_completion_tokens"} <= self.chat.form.dropped:
            raise UsageError(
                f"{self.chat.endpoint.base_url} takes no limit on the length of an answer, so no budget can be kept",
                hint="leave out --budget, or limit what the account may spend",
            )
        body = request_body(self.questions.about(batch[0]), self.chat.form)
        return most_it_can_cost(body, int(self.questions.sampling["max_tokens"]), self.price)

    async def answer(self, batch: Sequence[PairToJudge]) -> list[Answered]:
        """Ask about the one pair."""
        (pair,) = batch
        request = self.questions.about(pair)
        outcome: Reply | Failure | None = self.replies.get(request.request_id)
        if outcome is None and self.chat is not None:
            outcome = await self.chat.ask(request)
        if outcome is None:
            return [Answered(None)]
        judgment = judgment_of(
            pair, request, outcome, policy=self.questions.policy, judge_id=self.judge_id, price=self.price
        )
        return [Answered(judgment, (request.request_id, outcome) if isinstance(outcome, Reply) else None)]
