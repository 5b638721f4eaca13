"""A workspace: the folder that holds a project's settings, policies and database."""

import os
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from store.database import Store
from store.errors import InvalidDataError, MissingError, UsageError

SETTINGS_FILE = "uncited.toml"
DATABASE_FILE = "uncited.duckdb"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JudgeSettings(_Section):
    """The `[judge]` table. The key itself comes from the environment only."""

    model: str | None = None
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = Field(default=8, ge=1, le=512)
    max_tokens: int = Field(default=400, ge=16)
    timeout_s: float = Field(default=60.0, gt=0)


class Overlap(_Section):
    """How many people answer a pair, in each stream."""

    targeted: int = Field(default=1, ge=1, le=20)
    audit: int = Field(default=1, ge=1, le=20)


class ReviewSettings(_Section):
    """The `[review]` table."""

    audit_share: float = Field(default=0.1, ge=0, le=1)  # of the pairs: drawn at random, answered blind
    overlap: Overlap = Overlap()
    resolution: Literal["majority", "strict", "adjudicated"] = "majority"
    similarity_model: str = "sentence-transformers/all-MiniLM-L6-v2"  # behind Find similar; "" for none


class Price(_Section):
    """Dollars per million tokens. Cached prompt tokens cost `cached` where given, else `input`."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)


class Settings(_Section):
    """What `uncited.toml` may say."""

    judge: JudgeSettings = JudgeSettings()
    review: ReviewSettings = ReviewSettings()
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

    def model_folder(self, policy_name: str, build_id: str) -> Path:
        """Folder of the model trained on a build, unless another is named."""
        return self.root / "models" / f"{policy_name}-{build_id.removeprefix('build_')[:8]}"

    def open(self) -> Store:
        """Open the database; see `Store` for what can go wrong."""
        if not (self.root / DATABASE_FILE).exists():
            raise MissingError(f"{self.root} has no {DATABASE_FILE}", hint=f"uncited init {self.root}")
        return Store(self.root / DATABASE_FILE)


def open_workspace(root: Path) -> Workspace:
    """Open the workspace in the folder `root`.

    Raises:
        MissingError: `root` is no workspace.
        InvalidDataError: `uncited.toml` cannot be read; every wrong entry is named.
    """
    file = root / SETTINGS_FILE
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
