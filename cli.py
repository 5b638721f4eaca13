"""The command line: each command parses, calls one function of the packages, and prints what it returns.

Nothing heavy is imported at the top, so that `uncited --help` answers at once.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from store.errors import UserError

if TYPE_CHECKING:
    from printing import Output
    from store.database import Store
    from store.policies import Policy
    from store.workspace import Workspace

app = typer.Typer(
    name="uncited",
    help="Turn retrieval logs into training triplets that people have checked.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
policy_app = typer.Typer(help="Define what similar means.", no_args_is_help=True)
review_app = typer.Typer(help="Have people check candidates.", no_args_is_help=True)
argilla_app = typer.Typer(help="Run Argilla, the reviewing surface, on this machine.", no_args_is_help=True)
app.add_typer(policy_app, name="policy")
app.add_typer(argilla_app, name="argilla")
app.add_typer(review_app, name="review")

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="UNCITED_WORKSPACE", help="The workspace folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, and no progress.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result and nothing else.")]
PolicyOption = Annotated[str, typer.Option("--policy", "-p", help="Name of the policy.")]
HERE = Path()


class Session(NamedTuple):
    """What most commands need: the workspace, its open database and a place to print to."""

    workspace: "Workspace"
    store: "Store"
    out: "Output"

    def policy(self, name: str) -> "Policy":
        """Return the newest version of a policy."""
        from store.policies import get_policy

        return get_policy(self.store, name)


@contextlib.contextmanager
def opened(root: Path, *, as_json: bool, quiet: bool) -> Iterator[Session]:
    """Open the workspace for the length of a command."""
    from printing import Output
    from store.workspace import open_workspace

    workspace = open_workspace(root)
    with workspace.open() as store:
        yield Session(workspace, store, Output(as_json=as_json, quiet=quiet))


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Where to.")] = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a workspace: settings, an example policy and an empty database."""
    from printing import Output, relative
    from store.workspace import create_workspace

    workspace = create_workspace(directory)
    out = Output(as_json=json, quiet=quiet)
    if out.json({"workspace": workspace.root.resolve()}):
        return
    out.line(f"Workspace in {relative(workspace.root)}: uncited.toml, policies/example.yaml, uncited.duckdb")
    out.next("uncited import FILE", "uncited policy add policies/example.yaml")


@app.command()
def schema(what: Annotated[Literal["interactions"], typer.Argument(help="Which format.")]) -> None:
    """Print the JSON Schema of an input format."""
    from mining.log_format import json_schema
    from printing import Output

    Output(as_json=True, quiet=True).json(json_schema())


@policy_app.command("add")
def policy_add(
    file: Annotated[Path, typer.Argument(help="A YAML policy.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a policy file and store it as a new version if it says something new."""
    from labeling.policies import load_policy, warnings
    from store.policies import add_policy

    policy = load_policy(file)
    with opened(workspace, as_json=json, quiet=quiet) as session:
        stored, is_new = add_policy(session.store, policy)
        if session.out.json({**_policy_summary(stored), "new": is_new, "warnings": warnings(stored)}):
            return
        for warning in warnings(stored):
            session.out.note(f"Warning: {file}: {warning}")
        session.out.line(f"{stored.name} version {stored.version}: {'added' if is_new else 'nothing changed'}")
        session.out.next(f"uncited mine --policy {stored.name}")


@policy_app.command("list")
def policy_list(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the policies with their newest versions."""
    from store.policies import list_policies

    with opened(workspace, as_json=json, quiet=quiet) as session:
        policies = list_policies(session.store)
        if session.out.json([_policy_summary(policy) for policy in policies]):
            return
        rows = [(p.name, p.version, ", ".join(label.name for label in p.labels), p.question) for p in policies]
        session.out.table("", ("policy", "version", "labels", "question"), rows)
        if not policies:
            session.out.next("uncited policy add policies/example.yaml")


@policy_app.command("show")
def policy_show(
    name: Annotated[str, typer.Argument(help="Name of the policy.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show a policy as judges and reviewers read it, with its versions and fingerprints."""
    from store.policies import policy_versions

    with opened(workspace, as_json=json, quiet=quiet) as session:
        policy = session.policy(name)
        versions = policy_versions(session.store, name)
        if session.out.json({**_policy_summary(policy), "policy": policy, "versions": len(versions)}):
            return
        out = session.out
        out.line(f"{policy.name} version {policy.version}" + (f": {policy.title}" if policy.title else ""))
        out.line(f"anchor     {policy.anchor}")
        out.line(f"candidate  {policy.candidate}")
        out.line(f"question   {policy.question}")
        out.table("", ("label", "role", "meaning"), [(a.name, a.role, a.meaning) for a in policy.answers])
        out.table("", ("signal", "suggests"), list(policy.signals.items()))
        out.line(f"labelling fingerprint  {policy.labelling_fingerprint}")
        out.line(f"training fingerprint   {policy.training_fingerprint}")


def _policy_summary(policy: "Policy") -> dict[str, object]:
    return {
        "name": policy.name,
        "version": policy.version,
        "policy_id": policy.policy_id,
        "labelling_fingerprint": policy.labelling_fingerprint,
        "training_fingerprint": policy.training_fingerprint,
    }


def main() -> None:
    """Run a command; an error made for the user is printed without a traceback."""
    try:
        app()
    except UserError as error:
        from printing import fail

        fail(error, as_json="--json" in sys.argv)


if __name__ == "__main__":
    main()
