"""Starting policies: careful examples of what "similar" can mean, to copy and put into one's own words."""

import re
from pathlib import Path

from labeling.policies import POLICY_NAME, load_policy
from store.errors import MissingError, UsageError
from store.policies import Policy

_FOLDER = Path(__file__).parent


def library() -> list[Policy]:
    """Return the starting policies, by name."""
    return [load_policy(file) for file in sorted(_FOLDER.glob("*.yaml"))]


def copy_policy(source: str, folder: Path, name: str) -> Path:
    """Copy a starting policy to `folder`/`name`.yaml under a name of its own; return the file.

    Raises:
        MissingError: the library has no policy `source`; the message lists those it has.
        UsageError: `name` cannot name a policy, or the file is there already or cannot be written.
    """
    names = [file.stem for file in sorted(_FOLDER.glob("*.yaml"))]
    if source not in names:
        raise MissingError(
            f"no starting policy {source!r}; there are: {', '.join(names)}", hint="uncited policy library"
        )
    text = (_FOLDER / f"{source}.yaml").read_text(encoding="utf-8")
    file = folder / f"{name}.yaml"
    if not POLICY_NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a policy: lower-case letters, digits and dashes, 64 at most")
    try:
        folder.mkdir(exist_ok=True)
        with file.open("x", encoding="utf-8") as out:
            out.write(re.sub(rf"^name: {source}$", f"name: {name}", text, count=1, flags=re.MULTILINE))
    except FileExistsError as error:
        raise UsageError(f"{file} is there already", hint=f"uncited policy add {file}") from error
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
    return file
