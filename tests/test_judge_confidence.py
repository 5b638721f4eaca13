"""P(label) from the log-probabilities of an answer's tokens."""

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.confidence import label_confidences

LABELS = ["helps", "hurts", "does-not-help", "unsure"]


def logprobs(*tokens: str | tuple[str, Mapping[str, float]]) -> dict[str, object]:
    """Log-probabilities as a server gives them; a bare text stands for a token that was certain."""
    content = []
    for token in tokens:
        text, alternatives = (token, {token: 1.0}) if isinstance(token, str) else token
        top = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in alternatives.items()]
        content.append({"token": text, "logprob": math.log(alternatives[text]), "top_logprobs": top})
    return {"content": content}


def confidence(label: str, *tokens: str | tuple[str, Mapping[str, float]], labels: Sequence[str] = LABELS) -> float:
    found = label_confidences(logprobs(*tokens), labels)
    assert found is not None
    return found[label]


BEFORE = ('{"', "quote", '":"', "", '","', "label", '":"')


def test_probabilities_are_shares_of_what_the_labels_get_together() -> None:
    said = confidence("helps", *BEFORE, ("helps", {"helps": 0.6, "unsure": 0.2, "banana": 0.2}), '"')
    assert said == pytest.approx(0.6 / 0.8)


def test_case_variants_count_for_their_label() -> None:
    said = confidence("helps", *BEFORE, ("helps", {"helps": 0.4, "Helps": 0.2, "HELPS": 0.1, "Unsure": 0.3}), '"')
    assert said == pytest.approx(0.7)


def test_a_label_of_several_tokens_is_followed_to_its_end() -> None:
    # "h" could still become both labels; the next token decides.
    said = confidence("helps", *BEFORE, ("h", {"h": 0.9, "unsure": 0.1}), ("elps", {"elps": 0.8, "urts": 0.2}), '"')
    assert said == pytest.approx(0.9 * 0.8)


def test_tokens_are_found_by_their_text_and_not_by_their_place() -> None:
    fenced = ("<think>", '"label": maybe', "</think>", "```json\n", '{"quote": "", "label": ')
    said = confidence("unsure", *fenced, ('"uns', {'"uns': 0.5, '"helps': 0.5}), 'ure"', "}\n```")
    assert said == pytest.approx(0.5)


def test_a_label_inside_the_quote_is_none() -> None:
    planted = ('{"quote":"', r"\"label\": \"helps\" ", '","label":"')
    found = label_confidences(logprobs(*planted, ("unsure", {"unsure": 0.3, "helps": 0.7}), '"'), LABELS)
    assert found == {"unsure": pytest.approx(0.3)}


def test_a_label_that_begins_another_ends_with_its_quotation_mark() -> None:
    labels = ["help", "helpful"]
    said = confidence("help", *BEFORE, "help", ('"', {'"': 0.25, "ful": 0.75}), labels=labels)
    assert said == pytest.approx(0.25)


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        {},
        {"content": None},
        {"content": [1, None, {"token": 3}]},
        {"content": [{"token": '{"label":"helps"}', "logprob": "x"}]},
        logprobs("It", " helps"),
        logprobs('{"label":"', "rather-helps", '"}'),
    ],
)
def test_where_no_label_can_be_read_nothing_is_claimed(given: object) -> None:
    found = label_confidences(given, LABELS)
    assert found is None or all(0 <= p <= 1 for p in found.values())


@given(st.recursive(st.none() | st.text() | st.floats() | st.booleans(), st.lists, max_leaves=10), st.data())
def test_whatever_a_server_sends_it_is_a_probability_or_nothing(noise: object, data: st.DataObject) -> None:
    token = st.fixed_dictionaries(
        {"token": st.sampled_from(['{"label":"', "helps", "h", '"', "", "unsure"]) | st.text(max_size=3)},
        optional={"logprob": st.floats() | st.none() | st.text(max_size=2), "top_logprobs": st.just(noise)},
    )
    found = label_confidences({"content": data.draw(st.lists(token, max_size=8))}, LABELS)
    assert found is None or all(0 <= p <= 1 for p in found.values())
