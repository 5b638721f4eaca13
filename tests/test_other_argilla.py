"""The review commands at a server that the environment names: which one, as whom, and everything it may refuse."""

import http.server
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from labeling import local_argilla
from labeling.argilla_client import connect, workspace_id
from labeling.local_argilla import Server
from store.errors import UserError
from store.workspace import open_workspace
from tests.judge_stub import running
from tests.local_argilla_fixtures import ask
from tests.reviewing import POLICY, fill
from tests.test_argilla_security import certificate
from tests.test_cli import from_json, run

ME = {
    "id": "6b8b0d3c-6f3e-4a7e-8d6a-0c6b3b1f7a11",
    "username": "ann",
    "first_name": "Ann",
    "last_name": None,
    "role": "admin",
    "api_key": "stub",
    "inserted_at": "2026-01-01T00:00:00",
    "updated_at": "2026-01-01T00:00:00",
}
ARGILLA = {"/api/v1/version": {"version": "2.8.0"}, "/api/v1/me": ME, "/api/v1/me/workspaces": {"items": []}}
POLICY_OPTION = ("--policy", POLICY.name)


class Answer:
    """A status with a body: JSON, or a page of HTML where it is text."""

    def __init__(self, status: int, body: object, **headers: str) -> None:
        self.status, self.body, self.headers = status, body, headers


@contextmanager
def serving(
    pages: Mapping[str, Any],
    tls: tuple[Path, Path] | None = None,
    seen: Callable[[str, Mapping[str, str]], None] = print,
) -> Iterator[str]:
    """A web server that answers these paths, and every other one with status 404 and a page of HTML."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen(self.path, dict(self.headers))
            known = pages.get(self.path, pages.get("*", Answer(404, "<html>not here</html>")))
            answer = known if isinstance(known, Answer) else Answer(200, known)
            text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(text.encode())), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with running(server):
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with candidates and without an Argilla of its own."""
    run("init", "w", cwd=tmp_path)
    with open_workspace(tmp_path / "w").open() as store:
        fill(store)
    return tmp_path / "w"


def team(url: str, key: str = "key") -> dict[str, str]:
    return {"ARGILLA_API_URL": url, "ARGILLA_API_KEY": key}


def user_of(server: Server, role: str, *workspaces: str) -> dict[str, Any]:
    """A new user of a server who is a member of these workspaces, which are made if need be."""
    name = f"{role}-{uuid4().hex[:6]}"
    account = {"username": name, "first_name": name, "role": role, "password": "long enough"}
    made: dict[str, Any] = ask(server, "POST", "/users", account)
    known = {w["name"]: w["id"] for w in ask(server, "GET", "/me/workspaces")["items"]}
    for workspace in workspaces:
        found = known.get(workspace) or ask(server, "POST", "/workspaces", {"name": workspace})["id"]
        ask(server, "POST", f"/workspaces/{found}/users", {"user_id": made["id"]})
    return made


class TestStatus:
    def test_it_says_which_server_is_used_and_as_whom(self, workspace: Path, argilla_server: Server) -> None:
        admin = user_of(argilla_server, "admin", "uncited")
        there = team(argilla_server.url + "/", admin["api_key"])
        said = run("argilla", "status", cwd=workspace, **there).stdout
        assert f"{argilla_server.url} (ARGILLA_API_URL): Argilla 2.8.0, as {admin['username']} (admin)" in said
        assert "Reviews are in its workspace uncited" in said
        assert admin["api_key"] not in said

    def test_it_says_where_nothing_runs_and_what_to_run(self, workspace: Path) -> None:
        done = run("argilla", "status", cwd=workspace)
        assert done.stdout == "Not running\n"
        assert "Next: uncited argilla up" in done.stderr
        assert from_json("argilla", "status", cwd=workspace)["argilla"] is None

    def test_the_workspaces_own_server_is_used_where_nothing_else_is_named(self, workspace: Path) -> None:
        try:
            up = from_json("argilla", "up", cwd=workspace)
            status = from_json("argilla", "status", cwd=workspace)
            assert status["source"] == "this workspace's own"
            assert (status["argilla"]["url"], status["argilla"]["username"]) == (up["url"], "owner")
            with serving(ARGILLA) as url:
                said = run("argilla", "up", cwd=workspace, **team(url))
                assert f"the review commands use {url} and not this one" in said.stderr
                assert run("argilla", "status", cwd=workspace, **team(url)).stdout.startswith(
                    f"{url} (ARGILLA_API_URL)"
                )
        finally:
            local_argilla.down(workspace / "argilla")

    def test_an_annotators_key_is_told_apart(self, workspace: Path, argilla_server: Server) -> None:
        ann = user_of(argilla_server, "annotator", "uncited")
        said = run("argilla", "status", cwd=workspace, **team(argilla_server.url, ann["api_key"])).stdout
        assert "An annotator's key can neither push nor pull" in said


class TestAdmins:
    @pytest.mark.slow
    def test_an_admin_pushes_and_pulls_in_a_workspace_of_the_team(
        self, workspace: Path, argilla_server: Server
    ) -> None:
        names = (f"team-{uuid4().hex[:6]}", f"team-{uuid4().hex[:6]}")
        there = team(argilla_server.url, user_of(argilla_server, "admin", *names)["api_key"])
        message = run("review", "push", *POLICY_OPTION, cwd=workspace, status=2, **there).stderr
        assert f"has several workspaces ({', '.join(sorted(names))})" in message
        assert "Try:   export ARGILLA_WORKSPACE=NAME" in message
        said = run("argilla", "status", cwd=workspace, **there)
        assert f"Its workspaces: {', '.join(sorted(names))}; none of them is named for the reviews" in said.stdout

        there["ARGILLA_WORKSPACE"] = names[1]
        assert f"workspace {names[1]}" in run("argilla", "status", cwd=workspace, **there).stdout
        run("review", "push", *POLICY_OPTION, cwd=workspace, **there)
        run("review", "pull", *POLICY_OPTION, cwd=workspace, **there)
        run("review", "status", *POLICY_OPTION, cwd=workspace, **there)
        kept = {
            d["workspace_id"] for d in ask(argilla_server, "GET", "/me/datasets", key=there["ARGILLA_API_KEY"])["items"]
        }
        mine = {w["id"] for w in ask(argilla_server, "GET", "/me/workspaces")["items"] if w["name"] == names[1]}
        assert kept == mine


def refusal(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> UserError:
    """What every command that needs Argilla ends with in this environment."""
    with monkeypatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(UserError) as error:
            workspace_id(connect(Path("nowhere")))
    return error.value


class TestRefusals:
    def test_an_annotators_key_where_an_admins_is_needed(self, workspace: Path, argilla_server: Server) -> None:
        ann = user_of(argilla_server, "annotator", f"team-{uuid4().hex[:6]}")
        there = team(argilla_server.url, ann["api_key"])
        message = run("review", "push", *POLICY_OPTION, cwd=workspace, status=6, **there).stderr
        assert f"{ann['username']} is annotator there, and an owner's or admin's key is needed" in message
        assert "Try:   export ARGILLA_API_KEY=KEY" in message

    def test_a_wrong_key(self, workspace: Path, argilla_server: Server) -> None:
        for words in (("argilla", "status"), ("review", "pull", *POLICY_OPTION)):
            message = run(*words, cwd=workspace, status=6, **team(argilla_server.url, "wrong-key")).stderr
            assert f"Argilla at {argilla_server.url} does not know this API key" in message
            assert "Try:   export ARGILLA_API_KEY=KEY   # each user finds theirs in Argilla" in message
            assert "wrong-key" not in message

    @pytest.mark.parametrize("key", ["ключ", "line\nbreak"])
    def test_a_key_that_cannot_be_sent(self, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
        error = refusal(monkeypatch, team("http://127.0.0.1:9", key))
        assert "no web request can carry ARGILLA_API_KEY" in error.message
        assert key not in error.message

    def test_half_a_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        error = refusal(monkeypatch, {"ARGILLA_API_URL": "http://127.0.0.1:9"})
        assert "ARGILLA_API_URL is set and ARGILLA_API_KEY is not" in error.message
        assert str(error.hint).startswith("export ARGILLA_API_KEY=...")

    @pytest.mark.parametrize("url", ["argilla.example.org", "ftp://x", "https://", "https://[", "http://x:99999"])
    def test_what_is_no_address(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        error = refusal(monkeypatch, team(url))
        assert f"ARGILLA_API_URL is {url.rstrip('/')!r}, which is no web address" in error.message
        assert error.hint == "export ARGILLA_API_URL=https://argilla.example.org"

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://no-such-host.invalid"])
    def test_nobody_answers(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        error = refusal(monkeypatch, team(url))
        assert f"Argilla at {url} cannot be reached: " in error.message
        assert str(error.hint).startswith(f"curl -i {url}/api/v1/version")

    @pytest.mark.parametrize("named", [None, "nobodys"])
    def test_no_workspace(self, monkeypatch: pytest.MonkeyPatch, argilla_server: Server, named: str | None) -> None:
        nowhere = user_of(argilla_server, "admin")
        there = team(argilla_server.url, nowhere["api_key"]) | ({"ARGILLA_WORKSPACE": named} if named else {})
        error = refusal(monkeypatch, there)
        assert "this user has no workspace" in error.message
        assert ("export ARGILLA_WORKSPACE=NAME" if named else "ask an owner of that Argilla") in str(error.hint)

    @pytest.mark.parametrize(
        ("pages", "message"),
        [
            ({"*": Answer(200, "<html>hello</html>")}, "is no Argilla (status 200)"),
            ({}, "is no Argilla (status 404)"),
            ({"/api/v1/version": {"version": "1.29.1"}}, "is Argilla 1.29.1; reviews need Argilla 2"),
            ({"/api/v1/version": {"version": "3.0.0"}}, "is Argilla 3.0.0; reviews need Argilla 2"),
            ({"/api/v1/version": ["2.8.0"]}, "is no Argilla (status 200)"),
            ({"*": Answer(302, "", Location="https://sign-in.example.org/")}, "go to https://sign-in.example.org/"),
            ({"*": Answer(401, "<html>who?</html>")}, "is no Argilla (status 401)"),
            ({"/api/v1/version": {"version": "2.8.0"}, "*": Answer(200, "<html>hi</html>")}, "is no Argilla ("),
        ],
    )
    def test_what_is_no_argilla_2(self, monkeypatch: pytest.MonkeyPatch, pages: dict[str, Any], message: str) -> None:
        with serving(pages) as url:
            error = refusal(monkeypatch, team(url))
        assert message in error.message
        assert error.hint

    def test_a_server_that_is_starting_is_asked_again(self, workspace: Path) -> None:
        busy = [Answer(503, "<html>starting</html>"), Answer(502, "")]
        pages = dict(ARGILLA)

        def seen(path: str, _: Mapping[str, str]) -> None:
            pages["/api/v1/version"] = busy.pop() if busy else {"version": "2.8.0"}

        with serving(pages, seen=seen) as url:
            assert from_json_at(workspace, url)["username"] == "ann"
        assert busy == []


def from_json_at(workspace: Path, url: str, **environment: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        run("argilla", "status", "--json", cwd=workspace, **team(url), **environment).stdout
    )["argilla"]
    return found


class TestNetworks:
    def test_a_certificate_that_nobody_vouches_for_is_refused_and_the_hint_helps(
        self, workspace: Path, tmp_path: Path
    ) -> None:
        cert, key = certificate(tmp_path / "tls", "-nodes", "-addext", "subjectAltName=IP:127.0.0.1")
        with serving(ARGILLA, (cert, key)) as url:
            message = run("argilla", "status", cwd=workspace, status=6, **team(url)).stderr
            assert f"the certificate of {url} is not trusted" in message
            assert "Try:   export SSL_CERT_FILE=CA.pem" in message
            assert from_json_at(workspace, url, SSL_CERT_FILE=str(cert))["username"] == "ann"

    def test_a_certificate_for_another_name_is_refused(self, workspace: Path, tmp_path: Path) -> None:
        cert, key = certificate(tmp_path / "tls")
        with serving(ARGILLA, (cert, key)) as url:
            there = team(url) | {"SSL_CERT_FILE": str(cert)}
            message = run("argilla", "status", cwd=workspace, status=6, **there).stderr
        assert "is not trusted" in message
        assert "127.0.0.1" in message

    def test_a_team_behind_a_proxy_is_reached_through_it_and_this_machine_is_not(self, workspace: Path) -> None:
        asked: list[str] = []
        absolute = {f"http://argilla.example.org{path}": body for path, body in ARGILLA.items()}
        with serving(ARGILLA | absolute, seen=lambda path, _: asked.append(path)) as proxy:
            through = {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "", "no_proxy": ""}
            found = from_json_at(workspace, "http://argilla.example.org", **through)
            assert found["username"] == "ann"
            assert asked
            assert all(path.startswith("http://argilla.example.org/") for path in asked)
            with serving(ARGILLA) as here:
                asked.clear()
                assert from_json_at(workspace, here, **through)["url"] == here
                assert asked == []
