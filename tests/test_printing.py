import io
import re

import pytest
from rich.console import Console

from printing import Output, three_digits

COUNTS = ("file", "format", "interactions", "known", "chunks", "retrievals", "rejected")
IMPORTED = ("../logs/log.jsonl", "uncited", 36, 0, 96, 288, 0)


def on_a_terminal(width: int) -> tuple[Output, io.StringIO]:
    """An output whose results and notes go to one screen, and what was sent to that."""
    out, screen = Output(as_json=False, quiet=False), io.StringIO()
    out.console, out.notes = (
        Console(file=screen, force_terminal=True, color_system=None, width=width, highlight=False) for _ in range(2)
    )
    return out, screen


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_a_table_cuts_no_name_of_a_column_and_no_number_and_fits(width: int) -> None:
    out, screen = on_a_terminal(width)
    out.table("New in this import", COUNTS, [IMPORTED, ("b.jsonl", "uncited", 1_234_567, 0, 0, 0, 0)])
    shown = screen.getvalue()
    assert shown.startswith("New in this import\n")
    for word in (*COUNTS, "../logs/log.jsonl", "1,234,567", "288"):
        assert word in shown
    assert max(map(len, shown.splitlines())) <= width


def test_a_table_that_fits_is_drawn_as_one_however_much_room_is_left() -> None:
    for width in range(40, 120):
        out, screen = on_a_terminal(width)
        out.table("", ("query length", "tuned"), [("4 to 8 words, and no more than that", 0.5), ("9 words", 1.0)])
        assert "┃ tuned ┃" in screen.getvalue(), width


def test_a_column_needs_no_name() -> None:
    out, screen = on_a_terminal(80)
    out.table("", ("", "pairs"), [("agreement", 3)])
    assert "agreement" in screen.getvalue()


def test_a_table_without_rows_says_so() -> None:
    out, screen = on_a_terminal(80)
    out.table("Reviews here", ("reviewer", "label"), [])
    assert screen.getvalue() == "Reviews here: none\n"


def test_a_long_text_in_a_table_is_broken_between_words() -> None:
    out, screen = on_a_terminal(40)
    out.table("", ("policy", "question"), [("substitutes", "Could it be bought instead of the other product?")])
    cells = re.findall(r"│ (\S*) +│ (.*?) *│", screen.getvalue())
    assert " ".join(cell for _, cell in cells) == "Could it be bought instead of the other product?"


def test_what_is_printed_is_never_drawn_over_by_a_bar() -> None:
    out, screen = on_a_terminal(80)
    with out.progress() as bar:
        bar.start("first", 1)
        bar.advance()
        out.table("Result", ("label", "pairs"), [("answers", 3)])
        after_result = screen.tell()
        bar.start("second", 2)
        bar.advance()
    drawn = screen.getvalue()[after_result:]
    assert "second" in drawn
    assert "first" not in drawn
    lines_drawn = drawn.count("\n")
    assert sum(map(int, re.findall(r"\x1b\[(\d+)A", drawn))) <= lines_drawn, "never above what was drawn since"


def test_a_stretch_without_a_step_leaves_no_bar() -> None:
    out, screen = on_a_terminal(80)
    with out.progress() as bar:
        bar.start("nothing to compare", 0)
        bar.start("as long as it takes", None)
        bar.advance(7)
    last = screen.getvalue().rsplit("\x1b[2K", 1)[-1]
    assert "nothing to compare" not in last
    assert "7/7" in last


def test_rounds_of_the_same_work_share_one_bar() -> None:
    out, screen = on_a_terminal(80)
    with out.progress() as bar:
        for _ in range(3):
            bar.start("writing", 1)
            bar.advance()
            bar.start("judging", 1)
            bar.advance()
    last = screen.getvalue().rsplit("\x1b[2K", 1)[-1]
    assert (last.count("writing"), last.count("judging")) == (1, 1)


def test_prose_is_broken_between_words_and_what_is_copied_is_not() -> None:
    out, screen = on_a_terminal(40)
    link = "Review them at http://127.0.0.1:6900/dataset/7e838c8c/annotation-mode?page=1"
    out.line("Chunks that repeat a positive never become negatives.")
    out.line(link)
    out.next("uncited review push --policy answers-the-question", "uncited review push --policy answers-the-question")
    assert screen.getvalue().splitlines() == [
        "Chunks that repeat a positive never ",
        "become negatives.",
        link,
        "Next: uncited review push --policy answers-the-question",
    ]


def test_a_line_that_is_piped_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False, quiet=False).line("word " * 60)
    assert capsys.readouterr().out.count("\n") == 1


def test_the_workspace_goes_before_a_comment_and_into_every_command_that_takes_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, screen = on_a_terminal(120)
    monkeypatch.setattr("sys.argv", ["uncited", "lineage", "x", "--workspace", "my logs"])
    out.next("uncited init w && uncited verify   # says what is damaged")
    said = "Next: uncited init w && uncited verify --workspace 'my logs'   # says what is damaged\n"
    assert screen.getvalue() == said


def test_measured_numbers_have_three_digits_and_no_powers_of_ten() -> None:
    assert [three_digits(n) for n in (0.05749, 12.54, 999.4, 999.7, 1340.2)] == [
        "0.0575",
        "12.5",
        "999",
        "1,000",
        "1,340",
    ]
