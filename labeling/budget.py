"""A limit on what a run may cost, which holds while requests are in flight.

Before a request is sent, the most that it can cost is set aside; when its answer is there, what it did cost is
counted in its place. So the limit is never crossed, and close to it fewer requests are sent at a time.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from labeling.endpoint import TRIES
from store.errors import UsageError
from store.workspace import Price

# A server that failed with one of these may have worked on the request, and may bill it.
_PERHAPS_BILLED = ("timeout", "connection", "bad_response")


class Charged(Protocol):
    """What came of a request, as far as it is about money."""

    @property
    def cost_usd(self) -> float | None:
        """Dollars; None where it is not known."""

    @property
    def duration_ms(self) -> int | None:
        """How long the answer took; None where there was none."""

    @property
    def error(self) -> str | None:
        """Kind of failure; None where the answer can be used."""


@dataclass(slots=True)
class Budget:
    """Dollars. An endpoint that answers without counting tokens is taken to have cost the most that it could."""

    limit_usd: float
    spent_usd: float = 0.0
    reserved_usd: float = 0.0

    def fits(self, usd: float) -> bool:
        """Tell whether so much more could be spent, if all that is in flight cost the most that it can."""
        return self.spent_usd + self.reserved_usd + usd <= self.limit_usd

    def reserve(self, usd: float) -> None:
        """Set aside what a request can cost at most."""
        self.reserved_usd += usd

    def settle(self, reserved_usd: float, answers: Sequence[Charged]) -> None:
        """Count what a request did cost, and free the rest of what was set aside for it."""
        self.reserved_usd -= reserved_usd
        if all(answer.cost_usd is not None for answer in answers):
            self.spent_usd += sum(answer.cost_usd or 0.0 for answer in answers)
        elif any(answer.duration_ms is not None or answer.error in _PERHAPS_BILLED for answer in answers):
            self.spent_usd += reserved_usd


def no_price(model: str) -> UsageError:
    """Return the error that says where the price of a model is looked for, which a budget needs."""
    return UsageError(
        f"no price is known for {model}, so no budget can be kept: put it into uncited.toml, in dollars per million"
        f' tokens, as [prices."{model}"] with input and output'
    )


def most_it_can_cost(body: Any, answer_tokens: int, price: Price) -> float:  # noqa: ANN401 - any JSON
    """Return dollars: no token is shorter than a byte of what is sent, and no answer longer than `answer_tokens`.

    A request that times out is sent again, and all tries may be billed.
    """
    sent = len(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return TRIES * (sent * max(price.input, price.cached or 0.0) + answer_tokens * price.output) / 1e6
