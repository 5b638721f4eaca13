"""Every command that the source names as the next one, or a page shows, is one that can be run."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from cli import app

REPOSITORY = Path(__file__).resolve().parents[1]
# Where a text names a command: at its beginning, after another command, or after what introduces it.
COMMAND = re.compile(r"(?:^|: |[|] |&& )uncited ([^|&#(]+)")
PROSE = {"uncited chunks, not looked at", "uncited interaction"}


def texts() -> Iterator[tuple[str, str]]:
    """Yield each text of the source with its place; what is put into it is an X."""
    for folder in ("commands", "labeling", "mining", "store", "train", "examples"):
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            in_another = {
                id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
            }
            for node in ast.walk(tree):
                place = f"{file.relative_to(REPOSITORY)}:{getattr(node, 'lineno', 0)}"
                if isinstance(node, ast.JoinedStr):
                    yield place, "".join(str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in in_another:
                    yield place, node.value


def wrong_with(text: str, root: Any) -> str | None:  # noqa: ANN401 - typer's own click comes without a public name
    """Say what keeps the command, written without `uncited`, from being run."""
    command, words = root, text.split()
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands") and not command.invoke_without_command:
        return None if words and words[0].startswith("X") else "no such command"
    known = {name for option in command.params for name in option.opts if name.startswith("-")}
    if "--help" in words:
        return None
    given = [word for word in words if re.match("--?[a-z]", word)]
    for option in given:
        if option not in known:
            return f"no option {option}"
    for option in command.params:
        if option.required and option.param_type_name == "option" and not set(option.opts) & set(given):
            return f"needs {option.opts[0]}"
    return None


def test_the_commands_that_hints_name_exist_and_have_what_they_need() -> None:
    root = typer.main.get_command(app)
    found = [(place, named) for place, text in texts() if text not in PROSE for named in COMMAND.findall(text)]
    assert len(found) > 150
    wrong = {f"{place}: uncited {named}": why for place, named in found if (why := wrong_with(named, root))}
    assert not wrong
    assert wrong_with("train --loss X", root) == "needs --policy"
    assert wrong_with("train --policy X --speed 9", root) == "no option --speed"
    assert wrong_with("trian --policy X", root) == "no such command"


def test_the_commands_in_the_docs_exist_and_have_what_they_need() -> None:
    root = typer.main.get_command(app)
    wrong, count = {}, 0
    for file in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]:
        for line in re.findall(r"^\$ uncited (.*)$", file.read_text("utf-8"), re.MULTILINE):
            count += 1
            words = shlex.split(line.split(" && ")[0], comments=True)
            if why := wrong_with(shlex.join(words), root):
                wrong[f"{file.name}: {line}"] = why
    assert count > 80
    assert not wrong
