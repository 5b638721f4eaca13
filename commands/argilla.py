"""`uncited argilla`: the reviewing surface on this machine."""

from typing import Annotated

import typer

from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption

app = typer.Typer(help="Run Argilla, the reviewing surface, on this machine.", no_args_is_help=True)


@app.command("up")
def up(
    port: Annotated[int | None, typer.Option(help="Default: 6900, or the next free one.")] = None,
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Start this workspace's Argilla; the first time on a machine installs it (about a minute)."""
    from labeling import local_argilla
    from printing import Output, relative
    from store.workspace import open_workspace

    home = open_workspace(workspace).argilla_home
    out = Output(as_json=json, quiet=quiet)
    with out.progress() as bar:
        server = local_argilla.up(home, port=port, progress=bar)
    if not out.json({"url": server.url, "pid": server.pid, "username": server.username, "home": home}):
        out.line(f"Argilla is running at {server.url} (process {server.pid})")
        out.line(f"Sign in as {server.username}; the password is in {relative(home / 'credentials.json')}")
        out.next("uncited review push --policy NAME", "uncited argilla user NAME")


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
    """Say whether this workspace's Argilla runs, and where."""
    from labeling import local_argilla
    from printing import Output
    from store.workspace import open_workspace

    server = local_argilla.status(open_workspace(workspace).argilla_home)
    out = Output(as_json=json, quiet=quiet)
    if not out.json({"running": server is not None, "url": server.url if server else None}):
        out.line(f"running at {server.url} (process {server.pid})" if server else "not running")
        if not server:
            out.next("uncited argilla up")


@app.command("user")
def user(
    name: Annotated[str, typer.Argument(help="Name of the reviewer.")],
    workspace: WorkspaceOption = HERE,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a reviewer of this workspace's Argilla, with a random password; the same name gives the same one."""
    from labeling import local_argilla
    from printing import Output
    from store.workspace import open_workspace

    user = local_argilla.add_user(open_workspace(workspace).argilla_home, name)
    out = Output(as_json=json, quiet=quiet)
    if not out.json({"username": user.username, "password": user.password, "role": user.role}):
        out.line(f"{user.username} ({user.role}), password: {user.password}")
