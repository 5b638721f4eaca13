"""Policy files: YAML that people write, checked so that every complaint names file and line."""

import itertools
import os
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.policies import UNSURE, Example, Label, Policy, Role, Scale, get_policy
from store.text import normalised, words

POLICY_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_EXAMPLES_LIMIT = 16_000  # characters, about 4,000 tokens: half of the context of a small judge; a pair needs the rest
_BOTH = frozenset(["both", "two", "they", "them", "their", "either", "each", "other", "another", "together", "pair"])
_SHORTEST_STEM = 4  # letters


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, strict=True)


def _sentence(text: str) -> str:
    """Return the canonical form of running text: re-wrapping a paragraph is no edit."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _passage(text: str) -> str:
    """Return the canonical form of a text whose lines and indentation may matter, as those of code and tables do."""
    return "\n".join(line.rstrip() for line in unicodedata.normalize("NFC", text).splitlines()).strip()


def _with_weight(signal: object) -> object:
    return {"label": signal} if isinstance(signal, str) else signal


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


_Sentence = Annotated[str, AfterValidator(_sentence)]
_Passage = Annotated[str, AfterValidator(_passage)]


class _LabelPart(_Part):
    name: str = Field(pattern=f"^{POLICY_NAME.pattern}$")
    meaning: _Sentence = Field(min_length=1, max_length=1000)
    role: Annotated[Role, BeforeValidator(_stripped)]


class _SignalPart(_Part):
    label: str
    weight: float = Field(default=1.0, gt=0, le=1, strict=False)


class _ExamplePart(_Part):
    anchor: _Passage = Field(min_length=1)
    candidate: _Passage = Field(min_length=1)
    label: str
    reason: _Sentence = Field(default="", max_length=1000)


class _PolicyFile(_Part):
    name: str = Field(pattern=f"^{POLICY_NAME.pattern}$")
    title: _Sentence = ""
    anchor: _Sentence = Field(min_length=1, max_length=300)
    candidate: _Sentence = Field(min_length=1, max_length=300)
    kinds: list[_Sentence] = Field(default=[], min_length=1)
    question: _Sentence = Field(min_length=1, max_length=1000)
    scale: Annotated[Scale, BeforeValidator(_stripped)] = "set"
    labels: list[_LabelPart] = Field(min_length=2)
    signals: dict[_Sentence, Annotated[_SignalPart, BeforeValidator(_with_weight)]] = {}
    examples: list[_ExamplePart] = []


_PARTS: dict[str, type[_Part]] = {"labels": _LabelPart, "signals": _SignalPart, "examples": _ExamplePart}


def load_policy(file: Path) -> Policy:
    """Read and check a policy file; what comes back is in canonical form (see docs/policies.md).

    Every value is taken as it is written: `no` and `3` are names like any other.

    Raises:
        MissingError: there is no such file.
        InvalidDataError: it is no policy; every wrong entry is named by file and line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingError(f"no policy file {file}", hint="uncited policy library") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDataError(f"{file} cannot be read as UTF-8 text: {error}") from error
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        content = yaml.load(text, Loader=yaml.BaseLoader)
        complaints = _repeated_keys(root)
    except yaml.YAMLError as error:
        raise InvalidDataError(f"{file}:{_error_line(error)}: not YAML: {_error_text(error)}") from error
    except RecursionError as error:
        raise InvalidDataError(f"{file}:1: nested too deeply to be a policy") from error
    if root is None or not isinstance(content, dict):
        raise InvalidDataError(f"{file}:1: a policy is a mapping with name, question, labels and so on")
    try:
        parsed = _PolicyFile.model_validate(content)
    except ValidationError as error:
        complaints += [_complaint(root, e["loc"], e["type"], e["msg"], e["input"]) for e in error.errors()]
    else:
        complaints += _contradictions(root, parsed)
    if complaints:
        lines = [f"{file}:{line}: {message}" for line, message in sorted(complaints)]
        raise InvalidDataError("\n".join(lines), hint="correct the file and run the command again")
    return _policy(parsed)


def _policy(parsed: _PolicyFile) -> Policy:
    return Policy(
        name=parsed.name,
        title=parsed.title,
        question=parsed.question,
        anchor=parsed.anchor,
        candidate=parsed.candidate,
        labels=tuple(Label(label.name, label.meaning, label.role) for label in parsed.labels),
        signals={name: signal.label for name, signal in parsed.signals.items()},
        weights={name: signal.weight for name, signal in parsed.signals.items() if signal.weight < 1},
        kinds=tuple(sorted(set(parsed.kinds))),
        scale=parsed.scale,
        examples=tuple(Example(e.anchor, e.candidate, e.label, e.reason) for e in parsed.examples),
    )


def named_policy(store: Store, reference: str) -> Policy:
    """Return the policy that a person names: a file, `NAME` (its newest version) or `NAME@VERSION`.

    Raises:
        MissingError: there is no such file, policy or version.
        InvalidDataError: the file is no policy.
        UsageError: what stands after `@` is no number.
    """
    if reference.endswith((".yaml", ".yml")) or os.path.isfile(reference):  # unlike Path, it takes any text
        return load_policy(Path(reference))
    name, at, version = reference.partition("@")
    if at and not (version.isascii() and version.isdigit()):
        raise UsageError(f"{reference!r} names no policy: after @ stands the number of a version, as in {name}@1")
    return get_policy(store, name, int(version) if at else None)


def warnings(policy: Policy) -> list[str]:
    """Say what is allowed but probably not meant."""
    found = []
    if not policy.signals:
        found.append("no signal suggests a label, so mining will put no candidate positives forward")
    if not policy.examples:
        found.append("no examples: judges and reviewers agree more when they see some")
    asked = _words(policy.question)
    if not asked & _BOTH:
        for side, described in (("anchor", policy.anchor), ("candidate", policy.candidate)):
            if not any(_akin(one, other) for one in _words(described) for other in asked):
                found.append(
                    f"the question does not seem to mention the {side} ({described}): it should ask about both sides"
                )
    return found


def _words(text: str) -> set[str]:
    return set(words(normalised(text)))


def _akin(one: str, other: str) -> bool:
    """Tell whether two words are the same or share a stem; short words, articles among them, never do."""
    short, long = sorted((one, other), key=len)
    if not short.isascii() and len(short) == 1:  # a character of a script without spaces is a word
        return short == long
    return len(short) >= _SHORTEST_STEM and long.startswith(short)


def _contradictions(root: yaml.Node, policy: _PolicyFile) -> list[tuple[int, str]]:
    """What each entry allows and the whole does not."""
    found = _wrong_labels(root, policy)
    names = [label.name for label in policy.labels]
    known = f"the labels are {', '.join(names)}"
    length = 0
    for index, example in enumerate(policy.examples):
        if example.label not in names:
            where = _line(root, ("examples", index, "label"))
            found.append((where, f"example has the label {example.label!r}; {known}"))
        before, length = length, length + len(example.anchor) + len(example.candidate) + len(example.reason)
        if before <= _EXAMPLES_LIMIT < length:
            where = _line(root, ("examples", index))
            found.append(
                (
                    where,
                    f"with this one the examples are {length:,} characters long; more than {_EXAMPLES_LIMIT:,} (about "
                    f"{_EXAMPLES_LIMIT // 4:,} tokens) leave no room for a pair in the context of a small judge",
                )
            )
    for name, signal in policy.signals.items():
        if signal.label not in names:
            where = _line(root, ("signals", name))
            found.append((where, f"signal {name!r} suggests the label {signal.label!r}; {known}"))
    return found


def _wrong_labels(root: yaml.Node, policy: _PolicyFile) -> list[tuple[int, str]]:
    found = []
    names = [label.name for label in policy.labels]
    meanings: dict[str, str] = {}
    for index, label in enumerate(policy.labels):
        where = _line(root, ("labels", index, "name"))
        if label.name == UNSURE.name:
            found.append((where, f"label {UNSURE.name!r} is offered under every policy already"))
        if label.name in names[:index]:
            found.append((where, f"label {label.name!r} is there twice"))
        twin = meanings.setdefault(normalised(label.meaning), label.name)
        if twin != label.name:
            where = _line(root, ("labels", index, "meaning"))
            found.append((where, f"labels {twin!r} and {label.name!r} have the same meaning"))
    for role in ("positive", "negative"):
        if role not in {label.role for label in policy.labels}:
            found.append((_line(root, ("labels",)), f"no label has the role {role}"))
    ranks = [label.role for label in policy.labels if label.role != "excluded"]
    if policy.scale == "ordered" and sum(one != other for one, other in itertools.pairwise(ranks)) > 1:
        found.append(
            (_line(root, ("labels",)), "on an ordered scale the positive labels stand together at one end of the list")
        )
    return found


def _complaint(
    root: yaml.Node, place: tuple[int | str, ...], kind: str, message: str, value: object
) -> tuple[int, str]:
    name = ".".join(str(part) for part in place)
    if kind == "extra_forbidden":
        part = _PARTS.get(str(place[0]), _PolicyFile) if len(place) > 1 else _PolicyFile
        return _line(root, place), f"{name}: unknown entry; there are {', '.join(part.model_fields)}"
    shown = "" if kind == "missing" else f" (it is {str(value)[:80]!r})"
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
