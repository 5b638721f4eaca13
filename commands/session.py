"""What the commands share: their common options, and the opened workspace."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from argilla import Argilla

    from printing import Output
    from store.builds import Build
    from store.database import Store
    from store.policies import Policy
    from store.workspace import Workspace

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="UNCITED_WORKSPACE", help="The workspace folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, and no progress.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result and nothing else.")]
PolicyOption = Annotated[str, typer.Option("--policy", "-p", help="Name of the policy.")]
BuildOption = Annotated[str | None, typer.Option("--build", help="Id of a build, or its beginning; default: newest.")]
HERE = Path()
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class Session(NamedTuple):
    """What most commands need: the workspace, its open database and a place to print to."""

    workspace: "Workspace"
    store: "Store"
    out: "Output"
    until_the_end: contextlib.ExitStack  # closed before the database is

    def policy(self, name: str) -> "Policy":
        """Return the newest version of a policy."""
        from store.policies import get_policy

        return get_policy(self.store, name)

    def mined_policy(self, name: str) -> "Policy":
        """Return the newest version of a policy; one without candidates is refused."""
        from store.candidates import candidate_counts
        from store.errors import MissingError

        policy = self.policy(name)
        if not candidate_counts(self.store, policy.name):
            raise MissingError(
                f"policy {policy.name!r} has no candidates yet", hint=f"uncited mine --policy {policy.name}"
            )
        return policy

    def argilla(self) -> "Argilla":
        """Connect to the Argilla in use (see `labeling.argilla_client.connect`), until the command ends."""
        from labeling.argilla_client import connect

        client = connect(self.workspace.argilla_home)
        self.until_the_end.callback(client.http_client.close)
        return client

    def build(self, policy_name: str, build_id: str | None) -> "Build":
        """Return the build named, or the newest of a policy."""
        from store.builds import get_build, latest_build

        return get_build(self.store, build_id) if build_id else latest_build(self.store, self.policy(policy_name).name)


@contextlib.contextmanager
def opened(root: Path, *, as_json: bool, quiet: bool) -> Iterator[Session]:
    """Open the workspace for the length of a command."""
    from printing import Output
    from store.workspace import open_workspace

    workspace = open_workspace(root)
    with workspace.open() as store, contextlib.ExitStack() as until_the_end:
        yield Session(workspace, store, Output(as_json=as_json, quiet=quiet), until_the_end)
