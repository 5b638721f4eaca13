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

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from labeling.untrusted_text import visible
from store.errors import UserError


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

    def json(self, value: object) -> bool:
        """Print `value` as JSON where JSON was asked for, and tell whether that was so."""
        if self.as_json:
            sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")
        return self.as_json

    def line(self, text: str) -> None:
        """Print one line of a result; square brackets in it stay what they are."""
        self.console.print(visible(text), markup=False, soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; numbers stand to the right."""
        cells = [[_cell(value) for value in row] for row in rows]
        table = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold")
        for index, column in enumerate(columns):
            numeric = bool(cells) and all(isinstance(row[index][1], int | float | None) for row in cells)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in cells:
            table.add_row(*(escape(visible(text)) for text, _ in row))
        self.console.print(table)

    def tree(self, root: Branch) -> None:
        """Print a tree; square brackets in its texts stay what they are."""

        def grow(tree: Tree, branch: Branch) -> Tree:
            for inner in branch.branches:
                grow(tree.add(Text(visible(inner.text))), inner)
            return tree

        self.console.print(grow(Tree(Text(visible(root.text))), root))

    def note(self, text: str) -> None:
        """Say something besides the result."""
        if not self.quiet and not self.as_json:
            self.notes.print(visible(text), markup=False, soft_wrap=True, style="dim")

    def next(self, *commands: str) -> None:
        """Name the commands that usually come next."""
        for command in commands:
            self.note(f"Next: {_in_this_workspace(command)}")

    def progress(self) -> "Bar":
        """Return a progress bar; it draws nothing unless a person is watching."""
        return Bar(self.notes, hidden=self.quiet or self.as_json)


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
        self._rich.stop()

    def start(self, description: str, total: int | None) -> None:
        """Begin a new stretch of work."""
        self._description, self._total, self._done = description, total, 0
        self._task = self._rich.add_task(description, total=total, note="")
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
        console.print("Error:", style="bold red", end=" ")
        console.print(visible(error.message), markup=False, soft_wrap=True)
        if hint:
            console.print(f"Try:   {visible(hint)}", markup=False, soft_wrap=True)
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
    takes_it = re.compile(r"uncited (?!init|schema|demo)")
    return " && ".join(part + option if takes_it.match(part) else part for part in commands.split(" && "))


def percent(share: float) -> str:
    """Write a share such as 0.516 as `51.6 %`."""
    return f"{100 * share:.1f} %"


def relative(path: Path) -> str:
    """Write a path the short way where it lies below the current folder."""
    try:
        return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)
    except (OSError, ValueError):
        return str(path)


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
