"""`uncited policy`: define what similar means."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands import policy_edits
from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption, opened

if TYPE_CHECKING:
    from store.policies import Policy

app = typer.Typer(help="Define what similar means.", no_args_is_help=True)


@app.command("library")
def library(json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the starting policies that `policy new` copies."""
    from labeling.policy_library import library
    from printing import Output

    out = Output(as_json=json, quiet=quiet)
    policies = library()
    if out.json(policies):
        return
    out.table("Starting policies", ("policy", "labels", "question"), [_row(policy) for policy in policies])
    out.next("uncited policy new NAME --from POLICY")


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the new policy.")],
    source: Annotated[str, typer.Option("--from", help="The starting policy to copy.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy a starting policy into the workspace, to be put into your own words. Stores nothing yet."""
    from labeling.policy_library import copy_policy
    from printing import Output, relative
    from store.workspace import open_workspace

    file = copy_policy(source, open_workspace(workspace).policies, name)
    out = Output(as_json=json, quiet=quiet)
    if out.json({"file": file, "from": source}):
        return
    out.line(f"{relative(file)}: a copy of {source}; say in it what similar means to you")
    out.next(f"uncited policy add {relative(file)}")


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="A YAML policy.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a policy file and store it. An edit that would have answers asked again is left to `policy apply`."""
    from labeling.policies import load_policy, warnings
    from labeling.policy_changes import apply_policy
    from labeling.policy_plan import plan_change
    from store.errors import UsageError

    policy = load_policy(file)
    with opened(workspace, as_json=json, quiet=quiet) as session:
        plan = plan_change(session.store, policy, session.workspace.settings.prices)
        if plan.is_new and not plan.is_free:
            raise UsageError(
                f"this edit of {policy.name} would have {plan.pairs:,} judged pairs and {plan.reviews_again:,} answers"
                " of people asked again; nothing was stored",
                hint=f"uncited policy plan {file}",
            )
        applied = apply_policy(session.store, policy)
        summary = {**_policy_summary(applied.policy), "new": applied.is_new, "warnings": warnings(policy)}
        if session.out.json({**summary, "reviews_carried": applied.reviews_carried}):
            return
        for warning in warnings(policy):
            session.out.note(f"Warning: {file}: {warning}")
        policy_edits.print_applied(session.out, applied)
        session.out.next(f"uncited mine --policy {policy.name}")


@app.command("list")
def list_(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the policies with their newest versions."""
    from store.policies import list_policies

    with opened(workspace, as_json=json, quiet=quiet) as session:
        policies = list_policies(session.store)
        if session.out.json(
            [
                {**_policy_summary(p), "question": p.question, "labels": [label.name for label in p.labels]}
                for p in policies
            ]
        ):
            return
        rows = [(policy.name, policy.version, *_row(policy)[1:]) for policy in policies]
        session.out.table("Policies", ("policy", "version", "labels", "question"), rows)
        if not policies:
            session.out.next("uncited policy add policies/example.yaml")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION for an older one.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show a policy as judges and reviewers read it, with its versions and fingerprints."""
    from labeling.policies import named_policy
    from store.policies import policy_versions

    with opened(workspace, as_json=json, quiet=quiet) as session:
        policy = named_policy(session.store, name)
        versions = policy_versions(session.store, policy.name)
        if session.out.json({**_policy_summary(policy), "policy": policy, "versions": len(versions)}):
            return
        out = session.out
        out.line(f"{policy.name} version {policy.version}" + (f": {policy.title}" if policy.title else ""))
        out.line(f"anchor     {policy.anchor}")
        out.line(f"candidate  {policy.candidate}")
        out.line(f"kinds      {', '.join(policy.kinds) or 'all'}")
        out.line(f"question   {policy.question}")
        scale = "Labels, in their order on a scale" if policy.scale == "ordered" else "Labels"
        out.table(scale, ("label", "role", "meaning"), [(a.name, a.role, a.meaning) for a in policy.answers])
        signals = [(signal, label, policy.weights.get(signal, 1.0)) for signal, label in policy.signals.items()]
        out.table("Signals", ("signal", "suggests", "weight"), signals)
        out.line(f"labelling fingerprint  {policy.labelling_fingerprint}")
        out.line(f"training fingerprint   {policy.training_fingerprint}")


app.command("diff")(policy_edits.diff)
app.command("plan")(policy_edits.plan)
app.command("apply")(policy_edits.apply)
app.command("compare")(policy_edits.compare)


def _row(policy: "Policy") -> tuple[str, str, str]:
    return policy.name, ", ".join(label.name for label in policy.labels), policy.question


def _policy_summary(policy: "Policy") -> dict[str, object]:
    return {
        "name": policy.name,
        "version": policy.version,
        "policy_id": policy.policy_id,
        "labelling_fingerprint": policy.labelling_fingerprint,
        "training_fingerprint": policy.training_fingerprint,
    }
