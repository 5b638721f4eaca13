"""What the command line shows: tables and bars for people, one JSON document for machines.

Data goes to standard output; hints, progress and errors go to standard error, so that output can be piped. Names and
texts from logs, files and servers may stand in all of it, so nothing that a terminal would obey is printed.
"""

import dataclasses
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from labeling.untrusted_text import visible
from store.errors import UserError

_USUAL_WORD = 20  # letters; a longer word, such as an id or a path, may be cut
_COMMAND = ("Next: ", "Try:   ")


class Branch(NamedTuple):
    """A line of a tree, or several, and what hangs on it."""

    text: str
    branches: "Sequence[Branch]" = ()


class Output:
    """Where a command says what it found. `quiet` keeps the results and drops everything else."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        """Choose the form once; the commands need not know it."""
        self.as_json = as_json
        self.quiet = quiet
        self.console = Console(highlight=False)
        self.notes = Console(stderr=True, highlight=False)
        self._bar: Bar | None = None

    def json(self, value: object) -> bool:
        """Print `value` as JSON where JSON was asked for, and tell whether that was so."""
        if self.as_json:
            sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")
        return self.as_json

    def line(self, text: str) -> None:
        """Print one line of a result; square brackets in it stay what they are."""
        self._print(self.console, text)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; numbers stand to the right.

        Where the screen is too narrow for whole words it goes without lines; where that is not enough, each value
        has a line of its own.
        """
        cells = [[_cell(value) for value in row] for row in rows]
        if title:
            self._print(self.console, title if cells else f"{title}: none", style="bold")
        texts = [[visible(text) for text, _ in row] for row in cells]
        numeric = [all(isinstance(row[index][1], int | float | None) for row in cells) for index in range(len(columns))]
        lines: dict[str, Any] = {}
        widths = _widths(columns, texts, numeric, self.console.width - 3 * len(columns) - 1)
        if not widths:
            lines = {"box": SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": (0, 1, 0, 0)}
            widths = _widths(columns, texts, numeric, self.console.width - 2 * len(columns) + 2)
        if not widths:
            self._one_value_a_line(columns, texts)
        elif texts:
            table = Table(header_style="bold", **lines)
            for column, width, number in zip(columns, widths, numeric, strict=True):
                table.add_column(column, justify="right" if number else "left", overflow="fold", width=width)
            for row in texts:
                table.add_row(*map(Text, row))
            self.console.print(table)

    def tree(self, root: Branch) -> None:
        """Print a tree; square brackets in its texts stay what they are."""

        def grow(tree: Tree, branch: Branch) -> Tree:
            for inner in branch.branches:
                grow(tree.add(Text(visible(inner.text))), inner)
            return tree

        self._rest()
        self.console.print(grow(Tree(Text(visible(root.text))), root))

    def note(self, text: str) -> None:
        """Say something besides the result."""
        if not self.quiet and not self.as_json:
            self._print(self.notes, text, style="dim")

    def next(self, *commands: str) -> None:
        """Name the commands that usually come next, each on a line that can be copied."""
        for command in dict.fromkeys(commands):
            self.note(f"Next: {_in_this_workspace(command)}")

    def progress(self) -> "Bar":
        """Return a progress bar; it draws nothing unless a person is watching."""
        self._bar = Bar(self.notes, hidden=self.quiet or self.as_json)
        return self._bar

    def _one_value_a_line(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        for number, row in enumerate(rows):
            grid = Table.grid("", "", padding=(0, 2))
            if number:
                grid.add_row()
            for column, text in zip(columns, row, strict=True):
                grid.add_row(Text(column, style="bold"), Text(text, overflow="fold"))
            self.console.print(grid)

    def _print(self, console: Console, text: str, style: str = "") -> None:
        self._rest()
        _print(console, text, style)

    def _rest(self) -> None:
        if self._bar:
            self._bar.rest()  # or it would be drawn over what is printed


class Bar:
    """A `store.progress.Progress` on standard error. Where that is no terminal, it writes a line now and then."""

    _SECONDS_BETWEEN_LINES = 15.0

    def __init__(self, console: Console, *, hidden: bool) -> None:
        """Prepare; nothing is drawn before the first stretch starts."""
        self._lines = None if hidden or console.is_terminal else console
        self._rich = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self._task: Any = None
        self._description = ""
        self._total: int | None = None
        self._done = 0
        self._last_line = 0.0

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        self.rest()

    def rest(self) -> None:
        """Leave the last state on the screen, for something else to be printed; the next stretch draws anew."""
        self._end_stretch()
        self._rich.stop()
        for task in self._rich.task_ids:
            self._rich.remove_task(task)

    def start(self, description: str, total: int | None) -> None:
        """Begin a new stretch of work; one without a step is not shown, and the last of a name stands for all."""
        self._end_stretch()
        for task in self._rich.tasks:
            if task.description == description:
                self._rich.remove_task(task.id)
        self._description, self._total, self._done = description, total, 0
        self._rich.start()
        self._task = self._rich.add_task(description, total=total, note="", visible=total != 0)
        if self._lines:
            self._lines.print(f"{description} ...", markup=False)
            self._last_line = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Show that more is done."""
        self._done += steps
        if self._task is not None:
            self._rich.update(self._task, advance=steps, note=note)
        if self._lines and time.monotonic() - self._last_line > self._SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            of = f" of {self._total}" if self._total else ""
            self._lines.print(f"{self._description}: {self._done}{of} {note}", markup=False)

    def _end_stretch(self) -> None:
        """Of a stretch whose length nobody knew, say how long it was."""
        if self._task is not None and self._total is None:
            self._rich.update(self._task, total=self._done, visible=self._done > 0)
        self._task = None


def plain(value: object) -> object:
    """Turn results into what JSON can hold: dataclasses and named tuples become objects."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    return value


def fail(error: UserError, *, as_json: bool) -> NoReturn:
    """Tell the user what went wrong and end with the error's exit status."""
    hint = _in_this_workspace(error.hint) if error.hint else None
    if as_json:
        document = {"error": error.message, "hint": hint, "exit_code": error.exit_code}
        sys.stderr.write(json.dumps(document, ensure_ascii=False) + "\n")
    else:
        console = Console(stderr=True, highlight=False)
        _print(console, error.message, before="Error: ")
        if hint:
            _print(console, f"Try:   {hint}")
    sys.exit(error.exit_code)


def _in_this_workspace(commands: str) -> str:
    """Repeat the workspace that this process was called with, so that a command can be copied as it stands."""
    words = [
        part for word in sys.argv[1:] for part in (word.split("=", 1) if word.startswith("--workspace=") else [word])
    ]
    given = [value for name, value in pairwise(words) if name in ("--workspace", "-w")]
    if not given:
        return commands
    option = f" --workspace {shlex.quote(given[-1])}"
    takes_it = re.compile(r"(uncited (?!init|schema|demo).*?)((?:   #.*)?)", re.DOTALL)  # a comment may follow
    parts = ((part, takes_it.fullmatch(part)) for part in commands.split(" && "))
    return " && ".join(f"{found[1]}{option}{found[2]}" if found else part for part, found in parts)


def percent(share: float) -> str:
    """Write a share such as 0.516 as `51.6 %`."""
    return f"{100 * share:.1f} %"


def three_digits(value: float) -> str:
    """Write what was measured to three digits, and from 1,000 on to the last whole one: 0.0575, 12.5, 1,340."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def dollars(cost_usd: float | None) -> str:
    """Write a cost as `$0.0123`, and as `cost unknown` where it is None."""
    return "cost unknown" if cost_usd is None else f"${cost_usd:.4f}"


def relative(path: Path) -> str:
    """Write a path the short way where it lies below the current folder."""
    try:
        return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)
    except (OSError, ValueError):
        return str(path)


def _print(console: Console, text: str, style: str = "", before: str = "") -> None:
    """Print a text as it is; a line of prose is broken between words, where a terminal would break it within one.

    What is taken up by something else stays whole: what is piped, a command, a text with an address or a long id.
    """
    shown = Text.assemble((before, "bold red"), (visible(text), style))
    whole = "\n" in text or text.startswith(_COMMAND) or max(map(len, text.split()), default=0) > console.width
    console.print(shown, soft_wrap=whole or not console.is_terminal)


def _widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], space: int
) -> list[int] | None:
    """Share a width among columns: None where a column's name, a number or a word of usual length would be cut."""
    widths, wanted = [], []
    for index, (column, number) in enumerate(zip(columns, numeric, strict=True)):
        texts = [row[index] for row in rows]
        words = [word for text in texts for word in ([text] if number else text.split())]
        longest = max(map(cell_len, words), default=0)
        widths.append(max([*map(cell_len, column.split()), longest if number else min(longest, _USUAL_WORD)]))
        wanted.append(max(cell_len(line) for text in (column, *texts) for line in text.split("\n")))
    if sum(widths) > space:
        return None
    while narrow := [index for index, width in enumerate(widths) if width < wanted[index]][: space - sum(widths)]:
        for index in narrow:
            widths[index] += 1
    return widths


def _cell(value: object) -> tuple[str, object]:
    if value is None:
        return "", value
    if isinstance(value, bool):
        return ("yes" if value else "no"), str(value)
    if isinstance(value, int):
        return f"{value:,}", value
    if isinstance(value, float):
        return f"{value:.3f}", value
    return str(value), value
