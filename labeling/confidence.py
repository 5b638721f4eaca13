"""What a language model's own probabilities say of the label that it wrote."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_LABEL = re.compile(r'(?<!\\)"label"\s*:\s*"')


class Token(NamedTuple):
    """A token that was written, and the probabilities of what might have stood in its place, itself included."""

    text: str
    alternatives: dict[str, float]


def label_confidences(logprobs: object, labels: Sequence[str]) -> dict[str, float] | None:
    """Return P(label) of each label that stands in an answer, from the log-probabilities of its tokens.

    A label is several tokens long. At each of them the probabilities of all alternatives that could still become one
    of `labels`, in whatever case, are added up; the share of those that could become the label written is its
    probability at that place, and the product over the places its P(label). Alternatives that could become both it
    and another one say nothing and are left out. The tokens are found by their text: answers may begin with fences
    or thoughts that the content does not hold, so no index of the content is one of the tokens.

    Args:
        logprobs: the `logprobs` of a choice, as it came over the wire.
        labels: those that may be given.

    Returns:
        None where there are no log-probabilities, or no label stands in them.
    """
    tokens = list(_tokens(logprobs))
    text = "".join(token.text for token in tokens)
    found = {}
    for match in _LABEL.finditer(text):
        written = next((a for a in labels if text.startswith(f'{a}"', match.end())), None)
        if written is not None:
            found[written] = _probability(tokens, match.end(), written, labels)
    return found or None


def _probability(tokens: Sequence[Token], start: int, written: str, labels: Sequence[str]) -> float:
    """Walk along the tokens of `written`, which begins at character `start` of the text."""
    targets = {label: f'{label}"'.casefold() for label in labels}
    probability, at = 1.0, 0
    for token in tokens:
        begin, at = at, at + len(token.text)
        if at <= start:
            continue
        if begin >= start + len(written) + 1:
            break
        known = targets[written][: max(0, begin - start)]
        lead = max(0, start - begin)  # characters before the label in the same token, such as a quotation mark
        right = wrong = 0.0
        for text, chance in token.alternatives.items():
            if text[:lead] != token.text[:lead]:
                continue
            so_far = known + text[lead:].casefold()
            fits = [a for a, target in targets.items() if target.startswith(so_far) or so_far.startswith(target)]
            if text == token.text or fits == [written]:
                right += chance
            elif fits and written not in fits:
                wrong += chance
        probability *= right / (right + wrong) if right + wrong > 0 else 1.0
    return min(max(probability, 0.0), 1.0)


def _tokens(logprobs: object) -> Iterator[Token]:
    """Read what can be read; servers differ, and nothing about it is believed."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    for entry in content if isinstance(content, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
            continue
        others = entry.get("top_logprobs")
        alternatives: dict[str, float] = {}
        for other in [*(others if isinstance(others, list) else ()), entry]:
            chance = _chance(other)
            if chance is not None:
                alternatives[other["token"]] = chance
        yield Token(entry["token"], alternatives)


def _chance(entry: object) -> float | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        return None
    logprob = entry.get("logprob")
    if isinstance(logprob, bool) or not isinstance(logprob, int | float) or math.isnan(logprob):
        return None
    return math.exp(min(logprob, 0.0))
