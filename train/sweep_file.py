"""The plan of a sweep: YAML that people write, checked so that every complaint names file and line."""

import dataclasses
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from store.errors import InvalidDataError, MissingError
from train.metrics import METRICS
from train.recipe import LOSSES, Kind, Recipe, takes_negatives

_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]


class Plan(BaseModel):
    """What to try: every model with every loss, learning rate and number of negatives.

    Empty names of models and losses stand for the default of the kind. A loss that reads one negative
    a row, or none, is tried once. `validation_share` of the train queries choose the winner by `metric`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "bi-encoder"
    models: tuple[str, ...] = Field(default=("",), min_length=1)
    losses: tuple[str, ...] = Field(default=("",), min_length=1)
    learning_rates: tuple[_Positive, ...] = Field(default=(2e-5,), min_length=1)
    negatives: tuple[_Count, ...] = Field(default=(1,), min_length=1)
    epochs: _Positive = 1.0
    batch_size: _Count = 32
    validation_share: float = Field(default=0.2, gt=0, le=0.5)
    metric: str = "nDCG@10"
    seeds: _Count = 1
    seed: int = 0

    @field_validator("losses")
    @classmethod
    def _losses_exist(cls, given: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = LOSSES.get(info.data.get("kind", "bi-encoder"), {})
        wrong = [loss for loss in given if loss and loss not in known]
        if wrong:
            raise ValueError(f"no loss {wrong[0]!r}; there are {', '.join(known)}")
        if taught := [loss for loss in given if loss and known[loss].distills]:
            raise ValueError(f"{taught[0]!r} learns from a teacher, and a sweep has none (uncited train takes one)")
        return given

    @field_validator("metric")
    @classmethod
    def _metric_exists(cls, given: str) -> str:
        if given not in METRICS:
            raise ValueError(f"no such metric; there are {', '.join(METRICS)}")
        return given


def read_plan(file: Path) -> Plan:
    """Read the plan of a sweep.

    Raises:
        MissingError: there is no such file.
        InvalidDataError: it is no plan; every wrong entry is named by file and line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        root, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except FileNotFoundError as error:
        raise MissingError(f"no plan {file}; docs/experiments.md shows one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDataError(f"{file} cannot be read as UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        line = error.problem_mark.line + 1 if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark else 1
        raise InvalidDataError(f"{file}:{line}: not YAML: {str(error).splitlines()[0]}") from error
    if root is None or not isinstance(content, dict):
        raise InvalidDataError(f"{file}:1: a plan is a mapping with {', '.join(Plan.model_fields)}")
    complaints = _repeated(root)
    try:
        plan = Plan.model_validate(content)
    except ValidationError as error:
        complaints += [_complaint(root, one["loc"], one["type"], one["msg"]) for one in error.errors()]
    if complaints:
        lines = [f"{file}:{line}: {message}" for line, message in sorted(complaints)]
        raise InvalidDataError("\n".join(lines), hint="correct the file and run the command again")
    return plan


def recipes(plan: Plan) -> list[Recipe]:
    """Return the recipes to try, complete and each once.

    Raises:
        UsageError: a combination makes no sense.
    """
    found = []
    for model, loss, rate, negatives in product(plan.models, plan.losses, plan.learning_rates, plan.negatives):
        recipe = Recipe(
            kind=plan.kind,
            base_model=model,
            loss=loss,
            learning_rate=rate,
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            seed=plan.seed,
        ).complete()
        several = negatives if takes_negatives(recipe.kind, recipe.loss) else 1
        found.append(dataclasses.replace(recipe, negatives=several))
    return list(dict.fromkeys(found))


def _repeated(root: yaml.Node) -> list[tuple[int, str]]:
    """YAML lets a later key silently replace an earlier one; a plan must not."""
    found, seen = [], set()
    for key, _ in root.value:
        if key.value in seen:
            found.append((key.start_mark.line + 1, f"{key.value}: stands here a second time"))
        seen.add(key.value)
    return found


def _complaint(root: yaml.Node, place: tuple[int | str, ...], kind: str, message: str) -> tuple[int, str]:
    """Return the line of what is wrong, and what to say of it."""
    node, line = root, 1
    for part in place:
        child: Any = None
        if isinstance(node, yaml.MappingNode):
            child = next((value for key, value in node.value if key.value == str(part)), None)
            line = next((key.start_mark.line + 1 for key, _ in node.value if key.value == str(part)), line)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
            line = child.start_mark.line + 1
        if child is None:
            break
        node = child
    name = ".".join(map(str, place))
    if kind == "extra_forbidden":
        return line, f"{name}: unknown entry; there are {', '.join(Plan.model_fields)}"
    message = message.removeprefix("Value error, ")
    return line, f"{name}: {message[0].lower()}{message[1:]}"
