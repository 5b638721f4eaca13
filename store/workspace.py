"""A workspace: the folder that holds a project's settings, policies and database."""

import os
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError
from store.ids import content_id

SETTINGS_FILE = "uncited.toml"
DATABASE_FILE = "uncited.duckdb"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PassOn(_Section):
    """Which pairs of a stage go on to the next one: those that any of the entries names."""

    labels: tuple[str, ...] = ()  # names of labels, or roles: positive, negative, excluded
    confidence_below: float | None = Field(default=None, gt=0, le=1)
    errors: bool = False  # pairs whose answer could not be used
    random: float = Field(default=0.0, ge=0, le=1)  # a share of all, so that two stages can be compared
    scores: tuple[float, float] | None = None  # from and to which quantile of the scores, for a stage that scores

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.scores and not 0 <= self.scores[0] <= self.scores[1] <= 1:
            raise ValueError("scores are two quantiles between 0 and 1, the lower one first")
        if not (self.labels or self.confidence_below or self.errors or self.random or self.scores):
            raise ValueError('passes nothing on; say what, or pass_on = "all"')
        return self


def _all_is_a_share_of_one(given: object) -> object:
    return {"random": 1.0} if given == "all" else given


class JudgeStage(_Section):
    """One of `[[judge.stages]]`: who answers, and what of it goes on to the next. Keys come from the environment."""

    kind: Literal["chat", "decisions", "triage", "cross-encoder"] = "chat"
    model: str | None = None
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = Field(default=8, ge=1, le=512)
    max_tokens: int = Field(default=400, ge=16)
    timeout_s: float = Field(default=60.0, gt=0)
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}  # of a cross-encoder: label -> lowest probability
    pass_on: Annotated[PassOn, BeforeValidator(_all_is_a_share_of_one)] | None = None

    @property
    def scores(self) -> bool:
        """Tell whether the stage orders pairs and labels none."""
        return self.kind == "triage" or (self.kind == "cross-encoder" and not self.thresholds)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.thresholds and self.kind != "cross-encoder":
            raise ValueError("thresholds belong to a cross-encoder")
        if self.thresholds and (min(self.thresholds.values()) > 0 or len(set(self.thresholds.values())) < 2):
            raise ValueError("thresholds name two labels or more, one of them from 0 on")
        if self.pass_on:
            if self.scores and (self.pass_on.labels or self.pass_on.confidence_below or self.pass_on.errors):
                raise ValueError(f"a {self.kind} stage gives scores, no labels: pass on by scores, random or all")
            if not self.scores and self.pass_on.scores:
                raise ValueError("scores belong to a stage that gives no labels")
        return self


class JudgeSettings(JudgeStage):
    """The `[judge]` table: one stage in short, or several in `stages`."""

    stages: tuple[JudgeStage, ...] = ()

    @property
    def cascade(self) -> tuple[JudgeStage, ...]:
        """The stages, the first one first."""
        return self.stages or (self,)

    @model_validator(mode="after")
    def _stages_join(self) -> Self:
        if self.stages and self.model_fields_set - {"stages"}:
            raise ValueError("[judge] is either one stage itself, or holds nothing but [[judge.stages]]")
        for number, stage in enumerate(self.cascade, start=1):
            if number == len(self.cascade) and stage.pass_on is not None:
                raise ValueError(f"stage {number} is the last: there is none to pass_on to")
            if number < len(self.cascade) and stage.pass_on is None:
                raise ValueError(f'stage {number} needs pass_on: what goes to the next stage? ("all" for everything)')
        return self


class Overlap(_Section):
    """How many people answer a pair, in each stream."""

    targeted: int = Field(default=1, ge=1, le=20)
    audit: int = Field(default=1, ge=1, le=20)


class ReviewSettings(_Section):
    """The `[review]` table."""

    audit_share: float = Field(default=0.1, ge=0, le=1)  # of the pairs: drawn at random, answered blind
    overlap: Overlap = Overlap()
    resolution: Literal["majority", "strict", "adjudicated"] = "majority"
    propagate: Literal["none", "exact", "near"] = "none"  # whether a label is lent to duplicates of the pair
    similarity_model: str = "sentence-transformers/all-MiniLM-L6-v2"  # behind Find similar; "" for none


class WriterSettings(_Section):
    """A model that writes texts. Without one, the judge's writes."""

    model: str | None = None
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = Field(default=8, ge=1, le=512)
    max_tokens: int = Field(default=600, ge=16)
    timeout_s: float = Field(default=60.0, gt=0)


class SynthesisSettings(WriterSettings):
    """The `[synthesis]` table: who writes questions, and how they are checked."""

    personas: tuple[Annotated[str, Field(min_length=1, max_length=300)], ...] = ()  # none: six that are built in
    retrieval_model: str = ""  # SentenceTransformer that looks for the chunk of each question too; "": BM25 alone


class AnswerSettings(WriterSettings):
    """The `[answers]` table: who answers test queries from what was retrieved, and measures the answers."""

    max_tokens: int = Field(default=2000, ge=16)  # verdicts on each statement of an answer are long
    similarity_model: str = ""  # SentenceTransformer behind answer_relevancy; "": the base model


MinedSource = Literal["bm25", "dense", "other-kind", "random"]


class MineSettings(_Section):
    """The `[mine]` table: what puts candidates forward besides the log. Filters as in `mine_hard_negatives`."""

    per_query: dict[MinedSource, Annotated[int, Field(ge=0, le=1000)]] = {}
    per_chunk: int | None = Field(default=None, ge=1)  # queries that get the same chunk; None: follows from the others
    seed: int = 0
    duplicate_cosine: float | None = Field(default=None, gt=0, le=1)  # to a positive that it repeats; None: by text
    model: str = "sentence-transformers/all-MiniLM-L6-v2"  # SentenceTransformer of that cosine and of the dense search
    query_prompt: str | None = None  # name of one of the model's prompts, or its text; None: what the model says
    chunk_prompt: str | None = None
    cross_encoder: str | None = None  # rescores the hits of bm25 and dense
    range_min: int = Field(default=0, ge=0)  # so many of the best are skipped
    range_max: int | None = Field(default=None, ge=1)  # how far down a ranking one looks
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None
    sampling: Literal["top", "random"] = "top"

    def depth(self, quota: int) -> int:
        """Return how far down its ranking a source is read to fill a quota."""
        return self.range_max or self.range_min + 10 * quota

    @model_validator(mode="after")
    def _ranges_hold(self) -> Self:
        for source, quota in self.per_query.items():
            if source in ("bm25", "dense") and self.range_max and quota > self.range_max - self.range_min:
                raise ValueError(
                    f"{source} = {quota} does not fit between range_min = {self.range_min}"
                    f" and range_max = {self.range_max}"
                )
        return self


class Price(_Section):
    """Dollars per million tokens. Cached prompt tokens cost `cached` where given, else `input`."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)


class ExportSettings(_Section):
    """The `[export]` table."""

    licence: str = ""  # what may be done with the texts; goes into the manifest of every export


class EvaluateSettings(_Section):
    """The `[evaluate]` table."""

    deployed: dict[str, str] = {}  # by policy: the model in use, a folder (from the workspace on) or a hub name


class Settings(_Section):
    """What `uncited.toml` may say."""

    judge: JudgeSettings = JudgeSettings()
    review: ReviewSettings = ReviewSettings()
    mine: MineSettings = MineSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    answers: AnswerSettings = AnswerSettings()
    export: ExportSettings = ExportSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    prices: dict[str, Price] = {}


@dataclass(frozen=True, slots=True)
class Workspace:
    """An opened workspace folder."""

    root: Path
    settings: Settings

    @property
    def policies(self) -> Path:
        """Folder of the policy files that people edit."""
        return self.root / "policies"

    @property
    def argilla_home(self) -> Path:
        """Folder of this workspace's own Argilla server."""
        return self.root / "argilla"

    @property
    def experiments(self) -> Path:
        """Folder of what experiments over builds found."""
        return self.root / "experiments"

    @property
    def models(self) -> Path:
        """Folder of the models, unless another is named."""
        return self.root / "models"

    def model_folder(self, policy_name: str, build_id: str, kind: str = "bi-encoder") -> Path:
        """Folder of the model of a kind trained on a build, unless another is named."""
        of_kind = "" if kind == "bi-encoder" else f"-{kind}"
        return self.models / f"{policy_name}-{build_id.removeprefix('build_')[:8]}{of_kind}"

    def deployed_model(self, policy_name: str) -> str:
        """Folder or hub name of the model that is in use under a policy; empty where the settings name none."""
        named = self.settings.evaluate.deployed.get(policy_name, "")
        folder = self.root / named
        return str(folder) if named and folder.is_dir() else named

    def joint_model_folder(self, builds: Mapping[str, str], kind: str = "bi-encoder") -> Path:
        """Folder of the model trained on the builds of several policies (name -> build id), unless another is named."""
        if len(builds) == 1:
            return self.model_folder(*next(iter(builds.items())), kind)
        return self.model_folder("+".join(builds), content_id("build", *builds.values()), kind)

    def open(self) -> Store:
        """Open the database; see `Store` for what can go wrong."""
        if not (self.root / DATABASE_FILE).exists():
            raise MissingError(f"{self.root} has no {DATABASE_FILE}", hint=f"uncited init {self.root}")
        return Store(self.root / DATABASE_FILE)


def open_workspace(root: Path) -> Workspace:
    """Open the workspace in the folder `root`.

    Raises:
        UsageError: `root` is a file.
        MissingError: `root` is no workspace.
        InvalidDataError: `uncited.toml` cannot be read; every wrong entry is named.
    """
    file = root / SETTINGS_FILE
    if root.is_file():
        raise UsageError(f"{root} is a file, and a workspace is a folder", hint="uncited init FOLDER")
    if not file.is_file():
        raise MissingError(
            f"{root} is not an uncited workspace (it has no {SETTINGS_FILE})",
            hint=f"uncited init {root}",
        )
    try:
        settings = Settings.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidDataError(f"{file}: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors())
        raise InvalidDataError(f"{file}: {wrong}") from error
    return Workspace(root, settings)


def create_workspace(root: Path) -> Workspace:
    """Make a workspace in `root`: settings, an example policy and an empty database.

    What is there already is left as it is, so a second call changes nothing.

    Raises:
        UsageError: `root` is a file, or cannot be written to.
    """
    templates = Path(__file__).parent / "new_workspace"
    try:
        for template in sorted(path for path in templates.rglob("*") if path.is_file()):
            file = root / template.relative_to(templates)
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                shutil.copyfile(template, file)
    except OSError as error:
        raise UsageError(f"cannot make a workspace in {root}: {error.strerror}") from error
    Store(root / DATABASE_FILE).close()
    return open_workspace(root)


def secret(name: str) -> str | None:
    """Return a secret from the environment; secrets are never stored or printed."""
    return os.environ.get(name) or None
