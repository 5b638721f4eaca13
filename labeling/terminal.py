"""Reviews in a terminal: the same questions in the same order as in Argilla, one key an answer.

Every answer is stored before the next question is shown, and the database is open for that moment only, so that others
(a judge, a second reviewer) can work beside it.
"""

import contextlib
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from labeling.conflicts import open_conflicts
from labeling.review_queue import review_queue
from labeling.terminal_card import DISCARD, HELP, NOTE, QUIT, SKIP, UNDO, Question, card, guide, label_keys
from labeling.terminal_keys import END, forget_typed, read_key, single_keys, whole_lines
from labeling.untrusted_text import visible
from store.database import Store
from store.errors import MissingError, ProviderError
from store.policies import Policy
from store.reviews import Review, add_pushed_pairs, add_reviews
from store.workspace import ReviewSettings

if TYPE_CHECKING:
    from rich.console import Console

OpenStore = Callable[[], Store]

TERMINAL = "terminal"  # the origin of answers from here

_PACE_OF = 20  # answers
_PAUSE_S = 300.0  # who takes longer has gone for a coffee
_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class TerminalReviewed:
    """What a session did. `changed` answers replaced earlier ones of the session; `left` wait for this reviewer."""

    reviewer: str
    answered: int
    discarded: int
    changed: int
    left: int


def questions_for(
    store: Store, policy: Policy, settings: ReviewSettings, reviewer: str, *, conflicts: bool
) -> list[Question]:
    """Return what this reviewer is to be asked, in order: the open conflicts, or what is open in the review queue.

    Raises:
        MissingError: the policy has no candidates.
    """
    if conflicts:
        return [Question(c.pair, "adjudication", c.earlier) for c in open_conflicts(store, policy)]
    queue = review_queue(store, policy, settings)
    if not queue:
        raise MissingError(f"policy {policy.name!r} has no candidates yet", hint=f"uncited mine --policy {policy.name}")
    return [Question(q.pair, q.stream) for q in queue if q.open and reviewer not in q.pair.reviewers]


@dataclass(slots=True)
class _Session:
    """What was asked and answered so far. The first of `waiting` is on the screen."""

    waiting: deque[Question]
    keys: dict[str, str]
    answered: list[Question] = field(default_factory=list)  # in order, for undo
    suggested: set[str] = field(default_factory=set)  # pairs that have been shown with a judge's suggestion
    given: dict[str, tuple[str | None, str]] = field(default_factory=dict)  # pair -> label and note as stored
    notes: dict[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    changed: int = 0
    status: str = ""

    @property
    def left(self) -> int:
        return sum(question.pair.pair_id not in self.given for question in self.waiting)

    def header(self) -> str:
        parts = [f"{len(self.given)} done", f"{self.left} left"]
        if self.seconds:
            pace = statistics.median(self.seconds[-_PACE_OF:])
            minutes = max(1, round(pace * self.left / 60))
            more = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
            parts.append(f"{pace:.0f} s each, about {more} more")
        return " · ".join(parts + ([self.status] if self.status else []))


def review_in_terminal(
    open_store: OpenStore, policy: Policy, questions: list[Question], reviewer: str, console: "Console"
) -> TerminalReviewed:
    """Ask the questions one after another until they are answered or the reviewer quits.

    Args:
        open_store: opens the database; called for each answer.
        policy: whose questions they are.
        questions: see `questions_for`.
        reviewer: who answers.
        console: where to draw; the keys come from standard input, which must be a terminal.

    Raises:
        ProviderError: the reviewer did not want to wait until another process lets go of the database.
    """
    session = _Session(deque(questions), label_keys([answer.name for answer in policy.answers]))
    with single_keys():
        with contextlib.suppress(KeyboardInterrupt):
            going_on = bool(session.waiting)
            while going_on:
                going_on = _ask(session, open_store, policy, reviewer, console)
                if going_on and not session.waiting:
                    going_on = _goes_back_from_the_end(session, console)
        _note_shown(session, open_store, console)
    labels = [label for label, _ in session.given.values()]
    return TerminalReviewed(
        reviewer=reviewer,
        answered=sum(label is not None for label in labels),
        discarded=sum(label is None for label in labels),
        changed=session.changed,
        left=session.left,
    )


def _note_shown(session: _Session, open_store: OpenStore, console: "Console") -> None:
    """Remember the pairs that were passed over: who has read a suggestion cannot answer blind any more."""
    if passed := sorted(session.suggested - session.given.keys()):
        _store(open_store, lambda store: add_pushed_pairs(store, TERMINAL, passed), console)


def _ask(session: _Session, open_store: OpenStore, policy: Policy, reviewer: str, console: "Console") -> bool:
    """Show the first question and obey one key; tell whether to go on."""
    question = session.waiting[0]
    _show(session, policy, question, console)
    shown = time.monotonic()
    key = read_key()
    session.status = ""
    if key in (END, QUIT, QUIT.upper()):
        return False
    key = key.lower()
    if key in session.keys or key == DISCARD:
        _answer(session, question, session.keys.get(key), open_store, policy, reviewer, console)
        session.seconds += [taken] if (taken := time.monotonic() - shown) < _PAUSE_S else []
    elif key == UNDO and session.answered:
        session.waiting.appendleft(session.answered.pop())
    elif key == UNDO:
        session.status = "nothing to undo"
    elif key == SKIP:
        session.waiting.popleft()
        (session.answered if question.pair.pair_id in session.given else session.waiting).append(question)
    elif key == NOTE:
        session.notes[question.pair.pair_id] = _read_note(console)
    elif key == HELP:
        _show_guide(session, policy, console)
    else:
        session.status = "no such key; ? explains them"
    return True


def _goes_back_from_the_end(session: _Session, console: "Console") -> bool:
    forget_typed()
    console.clear()
    console.print(f"That was the last: {session.header()}\nAny other key ends.", markup=False)
    if read_key().lower() != UNDO:
        return False
    session.waiting.appendleft(session.answered.pop())
    return True


def _show(session: _Session, policy: Policy, question: Question, console: "Console") -> None:
    pair_id = question.pair.pair_id
    before = session.given.get(pair_id)
    parts = card(
        policy,
        question,
        session.keys,
        header=session.header(),
        given=(before[0] or "discarded") if before else None,
        note=session.notes.get(pair_id, ""),
        width=console.width,
    )
    if question.suggested is not None:
        session.suggested.add(pair_id)
    forget_typed()  # a key pressed before the question was shown is no answer to it
    console.clear()
    for part in parts:
        console.print(part)


def _show_guide(session: _Session, policy: Policy, console: "Console") -> None:
    forget_typed()
    console.clear()
    for part in guide(policy, session.keys):
        console.print(part)
    console.print("\nAny key goes back.", style="dim")
    read_key()


def _read_note(console: "Console") -> str:
    """Read one line; none at all where the reviewer changes their mind."""
    with whole_lines():
        console.print("Note (Enter ends it): ", end="")
        try:
            return " ".join(visible(sys.stdin.readline()).split())
        except KeyboardInterrupt:
            return ""


def _answer(
    session: _Session,
    question: Question,
    label: str | None,
    open_store: OpenStore,
    policy: Policy,
    reviewer: str,
    console: "Console",
) -> None:
    pair_id = question.pair.pair_id
    note = session.notes.get(pair_id, "")
    before = session.given.get(pair_id)
    if before != (label, note):
        review = Review(
            pair_id=pair_id,
            labelling_fingerprint=policy.labelling_fingerprint,
            reviewer=reviewer,
            status="discarded" if label is None else "submitted",
            label=label,
            stream=question.stream,
            reviewed_at=datetime.now(UTC),
            origin=TERMINAL,
            note=note or None,
            suggested=question.suggested,
        )
        _store(open_store, lambda store: add_reviews(store, [review]), console)
        session.changed += before is not None
    session.given[pair_id] = (label, note)
    session.answered.append(session.waiting.popleft())
    session.status = f"{label or 'discarded'}; {UNDO} goes back"


def _store(open_store: OpenStore, write: Callable[[Store], object], console: "Console") -> None:
    """Store an answer, however long another process holds the database."""
    trouble: ProviderError | None = None
    try:
        while True:
            try:
                with open_store() as store:
                    write(store)
                return
            except ProviderError as error:
                first, trouble = trouble is None, error
                if first:
                    waiting = "Waiting to store your answer; Ctrl-C gives it up."
                    console.print(f"\n{error.message}\n{waiting}", markup=False)
            time.sleep(_RETRY_S)
    except KeyboardInterrupt:
        if trouble is None:
            raise
        raise ProviderError(f"your last answer is not stored: {trouble.message}", trouble.hint) from trouble
