"""Reviewing in a terminal, through a real pseudo-terminal and the real command."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labeling.terminal_card import label_keys
from store.audit_draws import drawable_pairs
from store.policies import Policy
from store.workspace import Workspace, create_workspace
from tests.labelled_store import review_pairs
from tests.reviewing import LOG, POLICY, fill, judge, pair

REPOSITORY = Path(__file__).resolve().parents[1]
ANSWERS, RELATED, UNRELATED, UNSURE = "1", "2", "3", "4"
READY = "q quit"


class Terminal:
    """The command on a pseudo-terminal; what it drew last is in `seen`."""

    def __init__(
        self, workspace: Path, *words: str, columns: int = 100, lines: int = 50, reviewer: str = "ann"
    ) -> None:
        self.master, slave = pty.openpty()
        self.size(columns, lines)
        self.modes = termios.tcgetattr(slave)
        named = ["--reviewer", reviewer] if reviewer else []
        command = [sys.executable, "-m", "cli", "review", "terminal", "--policy", "answers", *named, *words]
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        environment |= {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            command,
            cwd=workspace,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is what it is elsewhere
        )
        self.slave = slave
        self.seen = ""

    def size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for(self, text: str, seconds: float = 30) -> str:
        """Read on until `text` has been drawn; return the screen since the last key."""
        deadline = time.monotonic() + seconds
        while text not in _plain(self.seen):
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in: {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                with contextlib.suppress(OSError):  # the other end is closed
                    data = os.read(self.master, 65536)
                    self.seen += data.decode(errors="replace")
                    continue
                pytest.fail(f"ended before {text!r}: {self.seen!r}")
        return _plain(self.seen)

    def press(self, keys: str, then: str = READY) -> str:
        self.wait_for(READY)
        self.seen = ""
        os.write(self.master, keys.encode())
        return self.wait_for(then)

    def finish(self, key: str) -> str:
        """Give the last answer and leave; return the last words."""
        self.press(key, then="Any other key ends")
        os.write(self.master, b"q")
        return self.wait_for("0 wait for you")

    def quit(self) -> str:
        """Press q; return the last words."""
        last = self.press("q", then="wait for you")
        assert self.process.wait(timeout=30) == 0
        return last

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def _plain(drawn: str) -> str:
    """Return what was drawn without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r\n", "\n")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create_workspace(tmp_path / "w")
    with made.open() as store:
        policy = fill(store)
        judge(store, policy, {pair(1, 2): "answers", pair(1, 3): "related"})
    return made


@contextlib.contextmanager
def _terminal(workspace: Workspace, *words: str, **options: int | str) -> Iterator[Terminal]:
    terminal = Terminal(workspace.root, *words, **options)
    try:
        yield terminal
    finally:
        terminal.close()


def _without_audit(workspace: Workspace) -> None:
    (workspace.root / "uncited.toml").write_text("[review]\naudit_share = 0.0\n", encoding="utf-8")


def _reviews(workspace: Workspace) -> list[dict[str, object]]:
    with workspace.open() as store:
        return store.rows("SELECT * FROM reviews ORDER BY recorded_at, reviewed_at")


def test_keys_are_digits_and_free_first_letters() -> None:
    assert label_keys(["answers", "related", "no", "unsure", "average"]) == {
        **{"1": "answers", "a": "answers"},
        **{"2": "related", "r": "related"},
        **{"3": "no", "4": "unsure", "5": "average"},  # n and u mean something else, a is taken
    }
    many = label_keys([f"label {n}" for n in range(14)])
    assert set(many.values()) == {f"label {n}" for n in range(14)}
    assert not set(many) & set("dunsq?")


def test_answers_are_stored_one_by_one_with_time_reviewer_and_stream(workspace: Workspace) -> None:
    _without_audit(workspace)
    before = datetime.now(UTC)
    with _terminal(workspace) as terminal:
        assert "How do I" in terminal.wait_for(READY) or "Why does" in _plain(terminal.seen)
        screen = terminal.press(ANSWERS)
        assert "1 done · 9 left" in screen
        assert [r["label"] for r in _reviews(workspace)] == ["answers"], "stored while the session goes on"
        terminal.press("r")
        terminal.press("d")
        assert "2 answered, 1 discarded, 0 changed; 7 wait for you" in terminal.quit()
    found = _reviews(workspace)
    assert [(r["label"], r["status"]) for r in found] == [
        ("answers", "submitted"),
        ("related", "submitted"),
        (None, "discarded"),
    ]
    assert {(r["reviewer"], r["stream"], r["origin"]) for r in found} == {("ann", "targeted", "terminal")}
    times = [r["reviewed_at"] for r in found]
    assert before <= times[0] < times[1] < times[2] <= datetime.now(UTC)


def test_a_second_session_goes_on_where_the_first_ended(workspace: Workspace) -> None:
    total = sum(len(chunks) for _, chunks in LOG.values())
    for done in range(0, total, 4):
        with _terminal(workspace) as terminal:
            assert f"{total - done} left" in terminal.wait_for(READY)
            for _ in range(min(4, total - done) - 1):
                terminal.press(RELATED)
            if done + 4 < total:
                terminal.press(RELATED)
                terminal.quit()
            else:
                terminal.finish(RELATED)
    found = _reviews(workspace)
    assert len({r["pair_id"] for r in found}) == len(found) == total
    with _terminal(workspace) as terminal:
        assert "0 answered" in terminal.wait_for("wait for you")
    with _terminal(workspace, reviewer="bob") as terminal:
        assert "0 answered" in terminal.wait_for("0 wait for you"), "one answer a pair is enough by default"


def test_undo_goes_back_and_another_answer_replaces_the_first(workspace: Workspace) -> None:
    with _terminal(workspace) as terminal:
        assert "nothing to undo" in terminal.press("u")
        terminal.press(ANSWERS)
        terminal.press(RELATED)
        assert "You answered related" in terminal.press("u")
        assert "You answered answers" in terminal.press("u")
        terminal.press(UNRELATED)
        assert "You answered related" in _plain(terminal.seen), "the one undone after it comes next"
        screen = terminal.press("s")
        assert "You answered" not in screen
        assert "2 done · 8 left" in screen
        assert "2 answered, 0 discarded, 1 changed; 8 wait" in terminal.quit()
    with workspace.open() as store:
        current = store.rows("SELECT label FROM current_reviews ORDER BY reviewed_at")
    assert sorted(str(r["label"]) for r in current) == ["related", "unrelated"]
    assert len(_reviews(workspace)) == 3


def test_the_very_last_answer_can_be_undone_too(workspace: Workspace) -> None:
    _say(workspace, POLICY, "ann", "answers", pair(1, 2))
    _say(workspace, POLICY, "bob", "related", pair(1, 2))
    with _terminal(workspace, "--conflicts", reviewer="eve") as terminal:
        terminal.press(ANSWERS, then="Any other key ends")
        terminal.seen = ""
        os.write(terminal.master, b"u")
        assert "You answered answers" in terminal.wait_for(READY)
        assert "1 answered, 0 discarded, 1 changed" in terminal.finish(RELATED)
    assert [r["label"] for r in _reviews(workspace) if r["reviewer"] == "eve"] == ["answers", "related"]


def test_skipped_pairs_come_back_and_a_note_goes_with_the_answer(workspace: Workspace) -> None:
    with _terminal(workspace) as terminal:
        first = _query_and_candidate(terminal.wait_for(READY))
        terminal.press("s")
        for _ in range(9):
            terminal.press(RELATED)
        assert _query_and_candidate(_plain(terminal.seen)) == first
        terminal.press("n", then="Enter ends it")
        terminal.seen = ""
        os.write(terminal.master, "naïve \x7f\x7f question\n".encode())
        assert "Your note" in terminal.wait_for(READY)
        terminal.finish(UNSURE)
    notes = [r["note"] for r in _reviews(workspace)]
    assert notes[:9] == [None] * 9
    assert notes[9] == "naïv question"


def _query_and_candidate(screen: str) -> str:
    return screen[screen.index("Query") : screen.index("1/a")]


def test_help_shows_the_guidelines_and_unknown_keys_do_nothing(workspace: Workspace) -> None:
    with _terminal(workspace) as terminal:
        terminal.press("?", then="Any key goes back")
        guidelines = _plain(terminal.seen)
        for label in POLICY.labels:
            assert label.meaning in guidelines
        assert "says where and how long" in guidelines
        terminal.seen = ""
        os.write(terminal.master, b"1")
        assert "0 done" in terminal.wait_for(READY), "the key that leaves the help answers nothing"
        for key in ("\x1b[A", "\x1b", "é", "中", "7", "\x00", "\n"):
            assert "no such key" in terminal.press(key), repr(key)
    assert not _reviews(workspace)


def test_the_suggestion_is_shown_and_recorded_and_the_audit_is_blind(workspace: Workspace) -> None:
    _without_audit(workspace)
    with _terminal(workspace) as terminal:
        screens = [terminal.wait_for(READY)]
        screens += [terminal.press(RELATED) for _ in range(9)]
        terminal.finish(RELATED)
    suggested = [r["suggested"] for r in _reviews(workspace)]
    assert sorted(s for s in suggested if s) == ["answers", "related"]
    assert [("The judge" in screen) for screen in screens] == [s is not None for s in suggested]
    assert any("It looks like answers." in screen for screen in screens)


def test_a_pair_that_was_shown_with_a_suggestion_and_skipped_counts_as_shown(workspace: Workspace) -> None:
    _without_audit(workspace)
    with _terminal(workspace) as terminal:
        passed = []
        screen = terminal.wait_for(READY)
        while "The judge" not in screen:
            passed.append(screen)
            screen = terminal.press("s")
        terminal.quit()
    with workspace.open() as store:
        assert sum(pair.shown for pair in drawable_pairs(store, POLICY)) == 1
        assert store.count("SELECT count(*) FROM review_records") == 1  # none of those without a suggestion
    assert len(passed) < 10


def test_in_the_audit_nothing_of_the_judge_is_shown(workspace: Workspace) -> None:
    (workspace.root / "uncited.toml").write_text("[review]\naudit_share = 1.0\n", encoding="utf-8")
    with _terminal(workspace) as terminal:
        screens = [terminal.wait_for(READY)]
        screens += [terminal.press(RELATED) for _ in range(9)]
        drawn = terminal.seen
        terminal.finish(RELATED)
    assert not any("judge" in screen.lower() or "It looks like" in screen for screen in screens)
    assert "audit" not in drawn
    assert {(r["stream"], r["suggested"]) for r in _reviews(workspace)} == {("audit", None)}


HOSTILE = (
    "Normal \x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m \x9b5A \u202egnp.exe \x08\x08\r over"
    " \x1bP+q\x1b\\ [bold]tag[/bold] end"
)


@pytest.mark.parametrize("columns", [20, 80, 160])
def test_hostile_chunks_reach_the_terminal_as_letters_only(tmp_path: Path, columns: int) -> None:
    workspace = create_workspace(tmp_path / "w")
    with workspace.open() as store:
        policy = fill(store, {f"query {HOSTILE}": (HOSTILE, [f"cited {HOSTILE}", f"candidate {HOSTILE}"])})
        found = store.rows("SELECT pair_id FROM candidate_pairs")
        labels = {str(row["pair_id"]): "answers" for row in found}
        judge(store, policy, labels, reason=HOSTILE, quote="Normal \x1b]0;owned\x07")
    with _terminal(workspace, columns=columns) as terminal:
        screen = terminal.wait_for(READY) + terminal.press(ANSWERS)
        drawn = terminal.seen
    for forbidden in ("\x1b]", "\x07", "\x9b", "\u202e", "\x08", "\x1bP", "\x1b\\", "\x1b[5A"):
        assert forbidden not in drawn + screen, repr(forbidden)
    assert "[bold]tag[/bold]" in screen.replace("\n", "").replace(" ", "")
    assert "\u241b" in screen  # the picture of ESC


@pytest.mark.parametrize(("columns", "beside"), [(40, False), (100, False), (150, True)])
def test_the_cited_chunk_stands_beside_the_candidate_where_there_is_room(
    workspace: Workspace, columns: int, beside: bool
) -> None:
    with _terminal(workspace, columns=columns) as terminal:
        screens = [terminal.wait_for(READY)] + [terminal.press("s") for _ in range(9)]
    with_reference = [screen for screen in screens if "ited for this query" in screen]
    assert len(with_reference) == 7, "a candidate positive may be the reference itself"
    for screen in with_reference:
        lines = screen.splitlines()
        assert max(map(len, lines)) <= columns
        assert any("Candidate" in line and "Cited for" in line for line in lines) == beside


def test_words_of_the_query_and_the_quote_stand_out(workspace: Workspace) -> None:
    _without_audit(workspace)
    with workspace.open() as store:
        judge(store, POLICY, {pair(1, 2): "answers"}, quote="Dry flakes keep for months")
    with _terminal(workspace) as terminal:
        terminal.wait_for(READY)
        while "Drying a starter" not in _plain(terminal.seen):
            terminal.press("s")
        drawn = terminal.seen
    assert re.search(r"\x1b\[1m\s*starter\x1b\[0m", drawn)
    assert re.search(r"\x1b\[[0-9;]*4[0-9;]*m\s*Dry flakes ", drawn)


def test_pages_with_a_word_a_line_are_shown_as_running_text_and_code_as_it_stands(tmp_path: Path) -> None:
    words = " ".join(f"word{n}" for n in range(30))
    scattered = words.replace(" ", "\n\n")
    poem = "\n".join(f"Each line of this has a place of its own, {n}" for n in range(12))
    workspace = create_workspace(tmp_path / "w")
    with workspace.open() as store:
        fill(store, {"query": ("answer", [scattered, poem, "a\n\n\n\n\nb"])})
        store.execute("UPDATE chunks SET kind = 'code' WHERE text LIKE 'a%'")
    with _terminal(workspace, columns=100) as terminal:
        screens = terminal.wait_for(READY) + terminal.press("s") + terminal.press("s")
    assert "word0 word1 word2" in screens
    assert "its own, 3\nEach line" in screens
    assert "a\n\n\n\n\nb" in screens


def test_kill_9_loses_at_most_the_answer_being_given(workspace: Workspace) -> None:
    with _terminal(workspace) as terminal:
        for _ in range(3):
            terminal.press(RELATED)
        os.kill(terminal.process.pid, signal.SIGKILL)
        terminal.process.wait()
    assert len(_reviews(workspace)) == 3
    with _terminal(workspace) as terminal:
        assert "0 done · 7 left" in terminal.wait_for(READY)


@pytest.mark.parametrize("end", ["q", "\x03"])
def test_the_terminal_is_left_as_it_was_found(workspace: Workspace, end: str) -> None:
    with _terminal(workspace) as terminal:
        terminal.press(RELATED)
        assert termios.tcgetattr(terminal.slave)[3] != terminal.modes[3]
        terminal.press(end, then="wait for you")
        assert terminal.process.wait(timeout=30) == 0
        assert termios.tcgetattr(terminal.slave) == terminal.modes


@pytest.mark.parametrize("told", [signal.SIG_DFL, signal.SIG_IGN], ids=["hangs up", "under nohup"])
def test_a_terminal_that_goes_away_ends_the_session(workspace: Workspace, told: signal.Handlers) -> None:
    before = signal.signal(signal.SIGHUP, told)  # is inherited
    try:
        terminal = Terminal(workspace.root)
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        terminal.press(RELATED)
        os.close(terminal.slave)
        os.close(terminal.master)
        assert terminal.process.wait(timeout=30) in (0, 129, -signal.SIGHUP)
    finally:
        terminal.process.kill()
        terminal.process.wait()
    assert len(_reviews(workspace)) == 1


def test_after_a_pause_keys_work_as_before(workspace: Workspace) -> None:
    with _terminal(workspace) as terminal:
        terminal.press(RELATED)
        os.kill(terminal.process.pid, signal.SIGSTOP)
        termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.modes)  # as a shell does in between
        os.kill(terminal.process.pid, signal.SIGCONT)
        deadline = time.monotonic() + 30
        while termios.tcgetattr(terminal.slave)[3] == terminal.modes[3]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert "2 done" in terminal.press(RELATED)


def test_json_is_the_summary_alone_on_standard_output(workspace: Workspace) -> None:
    with _terminal(workspace, "--json") as terminal:
        terminal.press(RELATED)
        last = terminal.press("q", then="}")
    assert json.loads(last) == {"reviewer": "ann", "answered": 1, "discarded": 0, "changed": 0, "left": 9}


def test_others_may_use_the_database_between_answers_and_are_waited_for(workspace: Workspace) -> None:
    with _terminal(workspace) as terminal:
        terminal.press(RELATED)
        with workspace.open() as store:
            assert store.count("SELECT count(*) FROM reviews") == 1
            terminal.press(ANSWERS, then="Waiting to store your answer")
        assert "2 done" in terminal.wait_for("2 done")
    assert [r["label"] for r in _reviews(workspace)] == ["related", "answers"]


def test_who_does_not_want_to_wait_is_told_what_is_lost(workspace: Workspace) -> None:
    with _terminal(workspace) as terminal:
        terminal.press(RELATED)
        with workspace.open():
            terminal.press(ANSWERS, then="Waiting to store your answer")
            os.write(terminal.master, b"\x03")
            terminal.wait_for("your last answer is not stored")
            assert terminal.process.wait(timeout=30) == 6
    assert len(_reviews(workspace)) == 1


def _say(workspace: Workspace, policy: Policy, who: str, label: str, about: str, note: str | None = None) -> None:
    with workspace.open() as store:
        review_pairs(store, policy, {about: label}, reviewer=who, note=note)


def test_conflicts_are_decided_with_the_answers_in_sight_and_the_judge_out_of_it(workspace: Workspace) -> None:
    _say(workspace, POLICY, "ann", "answers", pair(1, 2), note="it \x1b[31mdries")
    _say(workspace, POLICY, "bob", "related", pair(1, 2))
    _say(workspace, POLICY, "bob", "related", pair(1, 3))
    with _terminal(workspace, "--conflicts", reviewer="eve") as terminal:
        screen = terminal.wait_for(READY)
        assert "0 done · 1 left" in screen
        assert "ann: answers (it ␛[31mdries)" in screen
        assert "bob: related" in screen
        assert "The judge" not in screen
        terminal.finish(RELATED)
    (review,) = [r for r in _reviews(workspace) if r["reviewer"] == "eve"]
    assert (review["stream"], review["label"], review["suggested"]) == ("adjudication", "related", None)
    with _terminal(workspace, "--conflicts", reviewer="eve") as terminal:
        terminal.wait_for("0 answered")


def _run(workspace: Workspace, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "review", "terminal", "--policy", "answers", *words]
    return subprocess.run(
        command,
        cwd=workspace.root,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_terminal_the_way_for_files_is_named(workspace: Workspace) -> None:
    done = _run(workspace)
    assert done.returncode == 2
    assert "standard input is no terminal" in done.stderr
    assert "uncited review import FILE --policy answers" in done.stderr


def test_the_reviewer_is_the_user_unless_named_and_never_nobody(workspace: Workspace) -> None:
    with _terminal(workspace, reviewer="") as terminal:
        terminal.press(RELATED)
        terminal.quit()
    import getpass

    assert [r["reviewer"] for r in _reviews(workspace)] == [getpass.getuser()]
    with _terminal(workspace, "--reviewer", " ", reviewer="") as terminal:
        terminal.wait_for("a reviewer needs a name")
