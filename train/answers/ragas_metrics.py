"""The metrics of Ragas over one answer. Nothing else imports `ragas`.

Ragas brings the prompts and reads the replies; it asks through the `Ask` that it is given, so that what it asks is
paced, priced and kept as everything else is.
"""

import asyncio
import contextlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from logging import CRITICAL, getLogger
from typing import TYPE_CHECKING, Any

from store.completions import Ask, NoAnswer, Prompt
from store.errors import MissingError, UsageError
from store.ids import content_id

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

INSTALL = 'pip install "uncited[answers]"'

_WARMTH = 0.3  # of a prompt that is asked again for another reply, as Ragas has it
_END_OF_EXAMPLES = "\n-----------------------------\n"

Embed = Callable[[Sequence[str]], list[list[float]]]


@dataclass(frozen=True, slots=True)
class AnswerMetric:
    """A metric by the name that Ragas gives it. Those of the context need no answer, only what was retrieved."""

    name: str
    asks: str
    ragas_class: str
    needs_answer: bool = True
    needs_reference: bool = True
    embeds: bool = False
    lower_is_better: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        AnswerMetric(
            "context_recall", "how much of the reference do the chunks hold?", "LLMContextRecall", needs_answer=False
        ),
        AnswerMetric(
            "context_precision",
            "do the chunks that are of use come first?",
            "LLMContextPrecisionWithReference",
            needs_answer=False,
        ),
        AnswerMetric(
            "context_entity_recall",
            "how many names and numbers of the reference do the chunks hold?",
            "ContextEntityRecall",
            needs_answer=False,
        ),
        AnswerMetric(
            "faithfulness", "how much of the answer do the chunks bear out?", "Faithfulness", needs_reference=False
        ),
        AnswerMetric("factual_correctness", "do answer and reference say the same?", "FactualCorrectness"),
        AnswerMetric(
            "answer_relevancy",
            "do questions made up from the answer resemble the query?",
            "ResponseRelevancy",
            needs_reference=False,
            embeds=True,
        ),
        AnswerMetric(
            "noise_sensitivity",
            "how much of the answer is wrong, and comes from a chunk of use?",
            "NoiseSensitivity",
            lower_is_better=True,
        ),
    )
}


def metrics_named(names: Sequence[str]) -> list[AnswerMetric]:
    """Return metrics by their names, all of them where none is named; in the order of `METRICS`.

    Raises:
        UsageError: there is no metric of a name.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise UsageError(f"there is no metric {unknown[0]!r}; there are {', '.join(METRICS)}")
    return [metric for metric in METRICS.values() if not names or metric.name in names]


def check_ragas() -> str:
    """Import Ragas, and return its version.

    Raises:
        MissingError: it is not installed, or does not fit what is installed beside it.
    """
    os.environ["RAGAS_DO_NOT_TRACK"] = "true"  # it reports to its makers otherwise, and looks once
    try:
        import ragas
        import ragas.metrics
    except ImportError as error:
        raise MissingError(f"answers are measured by Ragas, which cannot be imported: {error}", hint=INSTALL) from error
    return str(ragas.__version__)


async def measure_answer(
    metric: AnswerMetric,
    ask: Ask,
    *,
    question: str,
    chunks: Sequence[str],
    answer: str | None,
    reference: str | None,
    embed: Embed | None,
) -> float | None:
    """Return the value of a metric, None where Ragas finds nothing to measure, such as an answer without a statement.

    Raises:
        NoAnswer: a request has no usable reply; `malformed` where Ragas cannot make sense of the replies.
    """
    import ragas.metrics
    from ragas import SingleTurnSample

    measuring: Any = getattr(ragas.metrics, metric.ragas_class)(llm=_Model(ask))
    if metric.embeds:
        measuring.embeddings = _Embeddings(embed)
    sample = SingleTurnSample(
        user_input=question, retrieved_contexts=list(chunks), response=answer, reference=reference
    )
    try:
        value = float(await measuring.single_turn_ascore(sample))
    except NoAnswer:
        raise
    except Exception as error:  # whatever a strange reply leads to: unparsable, of another shape, of another length
        raise NoAnswer("malformed") from error
    return value if math.isfinite(value) else None


@contextlib.contextmanager
def keeping_to_itself() -> Iterator[None]:
    """Let Ragas send nothing to anybody but the model, and print nothing, whatever the environment says."""
    from langsmith import tracing_context

    log = getLogger("ragas")
    level = log.level
    log.setLevel(CRITICAL)
    try:
        with tracing_context(enabled=False):
            yield
    finally:
        log.setLevel(level)


class _Model:
    """What Ragas takes for a model: of its own class it uses nothing but this."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._asked: Counter[str] = Counter()

    async def generate(self, prompt: Any, n: int = 1, **_: object) -> "LLMResult":  # noqa: ANN401
        from langchain_core.outputs import Generation, LLMResult

        text = prompt.to_string()
        first = self._asked[text]
        self._asked[text] += n
        prompts = [Prompt(text, _WARMTH if repeat else 0.0, repeat) for repeat in range(first, first + n)]
        replies = await asyncio.gather(*(self._ask(prompt) for prompt in prompts))
        return LLMResult(generations=[[Generation(text=reply) for reply in replies]])


class _Embeddings:
    """What Ragas takes for an embedding model."""

    def __init__(self, embed: Embed | None) -> None:
        assert embed is not None
        self._embed = embed

    def embed_query(self, text: str) -> list[float]:
        return self._embed([text])[0]

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return self._embed(texts)


def stand_in(prompt: Prompt) -> str:
    """Return a reply of the right form: that of the last example in a prompt of Ragas, else a short answer.

    Replies to different prompts differ, as real ones do, so that what follows from them is not taken for the same.
    """
    mark = content_id("reply", prompt.text, prompt.repeat)[-6:]
    examples, line, _ = prompt.text.rpartition(_END_OF_EXAMPLES)  # texts are JSON there, and cannot hold that line
    if line and "\nOutput: " in examples:
        with contextlib.suppress(ValueError):
            return json.dumps(_marked(json.loads(examples.rpartition("\nOutput: ")[2]), mark))
    return "As the passages say, it is so in most cases, but not where it was stated otherwise beforehand. " * 3 + mark


def _marked(value: object, mark: str) -> object:
    """Add a mark to each text in a JSON value."""
    if isinstance(value, str):
        return f"{value} {mark}"
    if isinstance(value, list):
        return [_marked(item, mark) for item in value]
    if isinstance(value, dict):
        return {key: _marked(item, mark) for key, item in value.items()}
    return value
