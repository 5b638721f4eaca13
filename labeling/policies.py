"""Policy files: YAML that people write, checked so that every complaint names file and line."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from store.errors import InvalidDataError, MissingError
from store.policies import UNSURE, Example, Label, Policy, Role

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, strict=True)


class _LabelPart(_Part):
    name: str = Field(pattern=f"^{_NAME.pattern}$")
    meaning: str = Field(min_length=1, max_length=1000)
    role: Role


class _ExamplePart(_Part):
    anchor: str = Field(min_length=1, max_length=8000)
    candidate: str = Field(min_length=1, max_length=8000)
    label: str
    reason: str = Field(default="", max_length=1000)


class _PolicyFile(_Part):
    name: str = Field(pattern=f"^{_NAME.pattern}$")
    title: str = ""
    anchor: str = Field(min_length=1, max_length=300)
    candidate: str = Field(min_length=1, max_length=300)
    question: str = Field(min_length=1, max_length=1000)
    labels: list[_LabelPart] = Field(min_length=2)
    signals: dict[str, str] = {}
    examples: list[_ExamplePart] = []


def load_policy(file: Path) -> Policy:
    """Read and check a policy file. White space, comments, the order of keys and the title change no fingerprint.

    Raises:
        MissingError: there is no such file.
        InvalidDataError: it is no policy; every wrong entry is named by file and line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingError(f"no policy file {file}", hint="uncited init writes policies/example.yaml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDataError(f"{file} cannot be read as UTF-8 text: {error}") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidDataError(f"{file}:{_error_line(error)}: not YAML: {_error_text(error)}") from error
    if root is None or not isinstance(content, dict):
        raise InvalidDataError(f"{file}:1: a policy is a mapping with name, question, labels and so on")
    complaints = _repeated_keys(root)
    try:
        parsed = _PolicyFile.model_validate(content)
    except ValidationError as error:
        complaints += [_complaint(root, e["loc"], e["msg"], e["input"]) for e in error.errors()]
    else:
        complaints += _contradictions(root, parsed)
    if complaints:
        lines = [f"{file}:{line}: {message}" for line, message in sorted(complaints)]
        raise InvalidDataError("\n".join(lines), hint="correct the file and run the command again")
    return Policy(
        name=parsed.name,
        title=parsed.title,
        question=_one_line(parsed.question),
        anchor=_one_line(parsed.anchor),
        candidate=_one_line(parsed.candidate),
        labels=tuple(Label(label.name, _one_line(label.meaning), label.role) for label in parsed.labels),
        signals=dict(parsed.signals),
        examples=tuple(Example(e.anchor, e.candidate, e.label, _one_line(e.reason)) for e in parsed.examples),
    )


def warnings(policy: Policy) -> list[str]:
    """Say what is allowed but probably not meant."""
    found = []
    if not policy.signals:
        found.append("no signal suggests a label, so mining will put no candidate positives forward")
    if not policy.examples:
        found.append("no examples: judges and reviewers agree more when they see some")
    return found


def _contradictions(root: yaml.Node, policy: _PolicyFile) -> list[tuple[int, str]]:
    """What each entry allows and the whole does not."""
    found = []
    names = [label.name for label in policy.labels]
    for index, label in enumerate(policy.labels):
        where = _line(root, ("labels", index, "name"))
        if label.name == UNSURE.name:
            found.append((where, f"label {UNSURE.name!r} is offered under every policy already"))
        if label.name in names[:index]:
            found.append((where, f"label {label.name!r} is there twice"))
    for role in ("positive", "negative"):
        if role not in {label.role for label in policy.labels}:
            found.append((_line(root, ("labels",)), f"no label has the role {role}"))
    known = f"the labels are {', '.join(names)}"
    for index, example in enumerate(policy.examples):
        if example.label not in names:
            where = _line(root, ("examples", index, "label"))
            found.append((where, f"example has the label {example.label!r}; {known}"))
    for signal, suggested in policy.signals.items():
        if suggested not in names:
            where = _line(root, ("signals", signal))
            found.append((where, f"signal {signal!r} suggests the label {suggested!r}; {known}"))
    return found


def _complaint(root: yaml.Node, place: tuple[int | str, ...], message: str, value: object) -> tuple[int, str]:
    name = ".".join(str(part) for part in place)
    shown = "" if message == "Field required" else f" (it is {str(value)[:80]!r})"
    return _line(root, place), f"{name}: {message[0].lower()}{message[1:]}{shown}"


def _line(root: yaml.Node, place: tuple[int | str, ...]) -> int:
    """Return the 1-based line of the deepest node on the way to `place`."""
    node, line = root, root.start_mark.line + 1
    for part in place:
        child: Any = None
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if pairs:
                line, child = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
            line = child.start_mark.line + 1
        if child is None:
            break
        node = child
    return line


def _repeated_keys(node: yaml.Node | None) -> list[tuple[int, str]]:
    """YAML lets a later key silently replace an earlier one; a policy must not."""
    found = []
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                found.append((key.start_mark.line + 1, f"{key.value!r} is there twice"))
            seen.add(key.value)
            found += _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            found += _repeated_keys(value)
    return found


def _error_line(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None)
    return int(mark.line) + 1 if mark else 1


def _error_text(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]


def _one_line(text: str) -> str:
    """Fold the white space of a wrapped YAML scalar, so that re-wrapping a paragraph is no edit."""
    return " ".join(text.split())
