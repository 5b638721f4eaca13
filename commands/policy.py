"""`uncited policy`: define what similar means."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from store.policies import Policy

app = typer.Typer(help="Define what similar means.", no_args_is_help=True)


@app.command("add")
def add(
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


@app.command("list")
def list_(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
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


@app.command("show")
def show(
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
