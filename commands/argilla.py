"""`uncited argilla`: the reviewing surface on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption

app = typer.Typer(help="Run Argilla, the reviewing surface, on this machine.", no_args_is_help=True)
user = typer.Typer(help="Reviewers of this workspace's Argilla.", no_args_is_help=True)
app.add_typer(user, name="user")


@app.command("up")
def up(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: 127.0.0.1. Another needs TLS.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Default: 6900, or the next free one.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM) that the server shows.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key (PEM) of the certificate.")] = None,
    tls_in_front: Annotated[bool, typer.Option("--tls-in-front", help="A proxy in front of it speaks TLS.")] = False,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Start this workspace's Argilla; the first time on a machine installs it (about a minute)."""
    from labeling import local_argilla
    from labeling.argilla_client import named_by_environment
    from printing import Output, relative
    from store.workspace import open_workspace

    home = open_workspace(workspace).argilla_home
    out = Output(as_json=json, quiet=quiet)
    with out.progress() as bar:
        server = local_argilla.up(
            home,
            host=host,
            port=port,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_in_front=tls_in_front,
            progress=bar,
        )
    if not out.json({"url": server.url, "pid": server.pid, "username": server.username, "home": home}):
        out.line(f"Argilla is running at {server.url} (process {server.pid})")
        out.line(f"Sign in as {server.username}; the password is in {relative(home / 'credentials.json')}")
        if elsewhere := named_by_environment():
            out.note(f"ARGILLA_API_URL is set: the review commands use {elsewhere} and not this one")
        out.next("uncited argilla user add NAME", "uncited review push --policy NAME")


@app.command("down")
def down(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Stop this workspace's Argilla. Its reviews stay."""
    from labeling import local_argilla
    from printing import Output
    from store.workspace import open_workspace

    stopped = local_argilla.down(open_workspace(workspace).argilla_home)
    out = Output(as_json=json, quiet=quiet)
    if not out.json({"stopped": stopped}):
        out.line("Argilla has stopped" if stopped else "Argilla was not running")


@app.command("status")
def status(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Say which Argilla the review commands use, and as whom."""
    from labeling.argilla_client import named_by_environment, reach
    from labeling.local_argilla import little_disk
    from printing import Output
    from store.workspace import open_workspace

    home = open_workspace(workspace).argilla_home
    out = Output(as_json=json, quiet=quiet)
    reached, elsewhere = reach(home), named_by_environment()
    source = "ARGILLA_API_URL" if elsewhere else "this workspace's own"
    warning = little_disk(home) if reached and not elsewhere else None
    if out.json({"argilla": reached, "source": source, "warning": warning}):
        return
    if not reached:
        out.line("Not running")
        out.next("uncited argilla up")
        return
    out.line(f"{reached.url} ({source}): Argilla {reached.version}, as {reached.username} ({reached.role})")
    if reached.workspace:
        out.line(f"Reviews are in its workspace {reached.workspace}")
    else:
        out.line(f"Its workspaces: {', '.join(reached.workspaces) or 'none'}; none of them is named for the reviews")
        out.next("export ARGILLA_WORKSPACE=NAME")
    if reached.role == "annotator":
        out.line("An annotator's key can neither push nor pull: an owner's or admin's is needed")
    if warning:
        out.line(f"{warning}: soon no answer will be accepted")


@user.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Name of the reviewer.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a reviewer with a random password; the same name again prints the same one."""
    from labeling import local_argilla
    from labeling.argilla_client import only_own
    from printing import Output
    from store.workspace import open_workspace

    only_own()
    made = local_argilla.add_user(open_workspace(workspace).argilla_home, name)
    out = Output(as_json=json, quiet=quiet)
    if not out.json({"username": made.username, "password": made.password, "role": made.role}):
        out.line(f"{made.username} ({made.role}), password: {made.password}")
        out.note("Hand out the name and the password, and no key of yours")


@user.command("list")
def list_(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List who may review, and where their passwords are kept."""
    from labeling import local_argilla
    from labeling.argilla_client import only_own
    from printing import Output, relative
    from store.workspace import open_workspace

    only_own()
    users = local_argilla.list_users(open_workspace(workspace).argilla_home)
    out = Output(as_json=json, quiet=quiet)
    if not out.json(users):
        kept = [relative(u.credentials) if u.credentials else None for u in users]
        rows = [(u.username, u.role, file) for u, file in zip(users, kept, strict=True)]
        out.table("", ("user", "role", "password kept in"), rows)


@user.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Name of the reviewer.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take a reviewer's access away; their answers stay, under their name."""
    from labeling import local_argilla
    from labeling.argilla_client import only_own
    from printing import Output
    from store.workspace import open_workspace

    only_own()
    local_argilla.remove_user(open_workspace(workspace).argilla_home, name)
    out = Output(as_json=json, quiet=quiet)
    if not out.json({"removed": name}):
        out.line(f"{name} can no longer sign in; what they answered stays")
