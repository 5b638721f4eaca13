"""Answers that came quicker than anybody reads.

The time that an answer took is that since the reviewer's answer before it; a pause makes it longer, never shorter. It
is set against the first `WORDS_READ` words of the candidate, read at `WORDS_A_MINUTE`: whoever sees by then that a text
is beside the point need not read on. People read 200 to 300 words a minute silently (Brysbaert 2019, Journal of Memory
and Language 109), and beyond about 400 understanding suffers (Rayner, Schotter, Masson, Potter and Treiman 2016,
Psychological Science in the Public Interest 17): the bound is twice what the quickest do.

Some quick answers are nothing: a text known from before, a table seen at a glance. So a reviewer is named only where
more than a fifth of the answers are too quick, beyond doubt.

Answers with the same label that arrive together are one act of bulk labelling, and its time that of reading one of its
texts. Files of labels say nothing about time, and are left out.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import timedelta
from typing import NamedTuple

from labeling.bounds import clopper_pearson_upper
from store.given_answers import GivenAnswer
from store.text import normalised, words

WORDS_A_MINUTE = 600
WORDS_READ = 50
TOLERATED = 0.2

_TOGETHER = timedelta(seconds=0.5)  # what Argilla stores of one bulk answer arrives within


class Pace(NamedTuple):
    """How quick a reviewer was.

    Of `timed` answers (a bulk answer is one) `quick` were quicker than reading; `low` is the exact lower bound of their
    share (one-sided, at the level asked for). `batches` are bulk answers, about `in_batches` pairs in all. `pairs` are
    those that were answered too quickly.
    """

    reviewer: str
    timed: int
    quick: int
    low: float
    batches: int
    in_batches: int
    pairs: tuple[str, ...]

    @property
    def too_quick(self) -> bool:
        """Whether more than the tolerated share were too quick, beyond doubt."""
        return self.low > TOLERATED


def pace(answers: Sequence[GivenAnswer], alike: Mapping[str, Set[str]], *, alpha: float) -> Pace:
    """Measure one reviewer.

    Args:
        answers: all of this reviewer's, in order of time.
        alike: pairs of the same query that repeat a pair, by its id: who has read one has read the other.
        alpha: how often the lower bound may be too high, if answers are quick independently of each other.
    """
    timed = quick = 0
    batches: list[int] = []
    too_quick: list[str] = []
    read: set[str] = set()
    before: GivenAnswer | None = None
    for act in _acts([answer for answer in answers if _tells_time(answer)]):
        new = [answer for answer in act if not read & ({answer.pair_id} | alike.get(answer.pair_id, set()))]
        batches += [len(act)] if len(act) > 1 else []
        if before is not None and new:
            seconds = (act[0].reviewed_at - before.reviewed_at).total_seconds()
            timed += 1
            if seconds < max(_reading_seconds(answer.chunk) for answer in new):
                quick += 1
                too_quick += [answer.pair_id for answer in new]
        read |= {answer.pair_id for answer in act}
        before = act[-1]
    low = 1 - clopper_pearson_upper(timed - quick, timed, alpha=alpha) if timed else 0.0
    return Pace(answers[0].reviewer, timed, quick, low, len(batches), sum(batches), tuple(too_quick))


def _tells_time(answer: GivenAnswer) -> bool:
    return answer.origin == "terminal" or answer.origin.startswith("argilla:")


def _acts(answers: Iterable[GivenAnswer]) -> Iterable[list[GivenAnswer]]:
    """Group answers that were given at one stroke; in a terminal each is one."""
    act: list[GivenAnswer] = []
    for answer in answers:
        last = act[-1] if act else None
        together = (
            last is not None
            and answer.origin.startswith("argilla:")
            and answer.label == last.label
            and answer.reviewed_at - last.reviewed_at <= _TOGETHER
        )
        if act and not together:
            yield act
            act = []
        act.append(answer)
    if act:
        yield act


def _reading_seconds(chunk: str) -> float:
    return min(len(words(normalised(chunk))), WORDS_READ) * 60 / WORDS_A_MINUTE
