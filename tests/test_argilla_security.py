"""Who can reach a local server, and what they can read from it."""

import json
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from labeling import local_argilla
from labeling.argilla_client import call, connect, reach
from labeling.local_argilla import Server
from labeling.local_argilla.listening import Wish
from store.errors import ProviderError, UsageError
from tests.local_argilla_fixtures import TEXT_AND_LABEL, ask, make_dataset, push
from tests.test_cli import run

CHROMIUM = Path("/usr/bin/chromium")


def certificate(folder: Path, *more: str) -> tuple[Path, Path]:
    """A new self-signed certificate for argilla.example.org, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    lock = more or ("-nodes",)
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", *lock, "-keyout", key, "-out", cert, "-days", "2"]
    subprocess.run([*made, "-subj", "/CN=argilla.example.org"], check=True, capture_output=True)
    return cert, key


def addresses(server: Server) -> set[str]:
    connections = psutil.Process(server.pid).net_connections()
    return {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}


def test_only_the_owner_of_the_files_can_read_them(argilla_server: Server) -> None:
    home = argilla_server.home
    local_argilla.add_user(home, "ann")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for name in ("credentials.json", "secret", "server.log", "argilla.db", "users/ann.json"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name


def test_it_listens_on_the_loopback_address_only(argilla_server: Server) -> None:
    assert addresses(argilla_server) == {"127.0.0.1"}


def test_secrets_are_on_no_command_line_and_in_no_log(argilla_server: Server) -> None:
    server, home = argilla_server, argilla_server.home
    ann = local_argilla.add_user(home, "ann")
    sign_in = partial(requests.post, f"{server.url}/api/v1/token", timeout=60)
    signed_in = sign_in(data={"username": ann.username, "password": ann.password})
    assert signed_in.status_code == 201
    token = signed_in.json()["access_token"]
    assert sign_in(data={"username": server.username, "password": server.password + "!"}).status_code == 401
    for query in ({"api_key": server.api_key}, {"access_token": token}):  # as somebody may try
        requests.get(f"{server.url}/api/v1/me", params=query, timeout=60)
    bearer = {"Authorization": f"Bearer {token}"}
    assert requests.get(f"{server.url}/api/v1/me", headers=bearer, timeout=60).json()["username"] == "ann"
    wrong = requests.post(f"{server.url}/api/v1/datasets", json={"name": 1}, headers=bearer, timeout=60)
    assert wrong.status_code in (403, 422)

    secrets = [server.api_key, server.password, ann.api_key, ann.password, token]
    secrets.append((home / "secret").read_text().strip())
    kept = {home / "credentials.json", home / "secret", *home.glob("*.db*"), *home.glob("users/*.json")}
    others = [
        path for path in home.rglob("*") if path.is_file() and path not in kept and home / "tmp" not in path.parents
    ]
    assert home / "server.log" in others
    written = {path: path.read_text(errors="replace") for path in others}
    command_lines = " ".join(" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    environment = " ".join(psutil.Process(server.pid).environ().values())
    for secret in secrets:
        assert [path for path, text in written.items() if secret in text] == []
        assert secret not in command_lines
        assert secret not in environment
        assert secret not in repr(server) + repr(ann)


def test_nothing_that_an_annotator_can_fetch_holds_somebody_elses_key(argilla_server: Server) -> None:
    server = argilla_server
    dataset_id = make_dataset(server, "fetched", TEXT_AND_LABEL)
    push(server, dataset_id, 2)
    ann = local_argilla.add_user(server.home, "ann")
    bob = local_argilla.add_user(server.home, "bob")
    me = ask(server, "GET", "/me")
    workspace = ask(server, "GET", "/me/workspaces")["items"][0]["id"]
    record = ask(server, "GET", f"/datasets/{dataset_id}/records")["items"][0]["id"]
    ids = {"dataset_id": dataset_id, "workspace_id": workspace, "record_id": record, "user_id": me["id"]}
    pages = requests.get(f"{server.url}/api/v1/openapi.json", timeout=60).json()["paths"]
    answered = set()
    for path in (path for path, verbs in pages.items() if "get" in verbs):
        for name, value in ids.items():
            path = path.replace(f"{{{name}}}", value)
        got = requests.get(f"{server.url}/api/v1{path}", headers={"X-Argilla-Api-Key": ann.api_key}, timeout=60)
        answered |= {path} if got.ok else set()
        for secret in (server.api_key, server.password, bob.api_key, bob.password):
            assert secret not in got.text, path
    assert {"/me", "/me/datasets", f"/datasets/{dataset_id}"} <= answered
    assert not answered & {"/users", f"/users/{me['id']}", f"/workspaces/{workspace}/users"}


def test_pages_of_other_origins_get_no_leave_to_read_answers(argilla_server: Server) -> None:
    key = {"X-Argilla-Api-Key": argilla_server.api_key}
    for origin in ("https://elsewhere.example", "null", "http://localhost:3000"):
        asked = {"Origin": origin, "Access-Control-Request-Method": "GET", **dict.fromkeys(key, "")}
        preflight = requests.options(f"{argilla_server.url}/api/v1/me", headers=asked, timeout=60)
        answer = requests.get(f"{argilla_server.url}/api/v1/me", headers={"Origin": origin, **key}, timeout=60)
        assert not preflight.ok
        assert "access-control-allow-origin" not in preflight.headers
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}: apt-get install chromium")
def test_a_browser_keeps_the_answers_from_a_page_of_another_origin(argilla_server: Server, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<h1>another site</h1>")
    read = "async ([url, key]) => (await fetch(url, {headers: {'X-Argilla-Api-Key': key}})).status"
    there = [f"{argilla_server.url}/api/v1/me", argilla_server.api_key]

    class Site(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(tmp_path / "site"))) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
            browser = playwright.chromium.launch_persistent_context(
                tmp_path / "browser", executable_path=CHROMIUM, headless=True, args=flags
            )
            page = browser.pages[0]
            page.goto(f"http://127.0.0.1:{site.server_port}/")
            with pytest.raises(Exception, match="Failed to fetch"):
                page.evaluate(read, there)
            page.goto(f"{argilla_server.url}/api/v1/version")
            assert page.evaluate(read, there) == 200  # from its own origin it can
            browser.close()
        site.shutdown()


def test_it_asks_nobody_outside_and_serves_the_web_page(argilla_server: Server) -> None:
    page = requests.get(argilla_server.url, timeout=60)
    assert "<html" in page.text
    assert requests.get(f"{argilla_server.url}/api/v1/version", timeout=60).json()["version"] == "2.8.0"
    remote = [c.raddr.ip for c in psutil.Process(argilla_server.pid).net_connections() if c.raddr]
    assert set(remote) <= {"127.0.0.1"}


def test_another_address_is_refused_without_tls_and_both_ways_on_are_named(tmp_path: Path) -> None:
    run("init", "w", cwd=tmp_path)
    for host in ("0.0.0.0", "192.0.2.9", "::"):
        message = run("argilla", "up", "--host", host, cwd=tmp_path / "w", status=2).stderr
        assert "unencrypted" in message
        assert "--tls-in-front" in message
        assert f"uncited argilla up --host {host} --tls-cert" in message
    assert not (tmp_path / "w" / "argilla").exists()


def test_every_loopback_address_will_do(argilla_home: Path) -> None:
    for host in (None, "localhost", "127.0.0.2"):
        Wish(host=host).check()
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = local_argilla.up(argilla_home, host="::1")
    assert server.url.startswith("http://[::1]:")
    assert addresses(server) == {"::1"}
    assert requests.get(f"{server.url}/api/v1/version", timeout=60).ok


def test_a_name_that_means_this_machine_only_here_is_refused(argilla_home: Path) -> None:
    lines = [line.split("#")[0].split() for line in Path("/etc/hosts").read_text().splitlines()]
    names = [name for address, *names in filter(None, lines) if address[:4] in ("127.", "::1") for name in names]
    name = next((n for n in names if n != "localhost"), None)
    if name is None:
        pytest.skip("/etc/hosts has no further name for this machine: add one, as in 127.0.1.1 NAME")
    with pytest.raises(UsageError, match="which no other machine can reach"):
        local_argilla.up(argilla_home, host=name)


def test_with_tls_in_front_other_machines_reach_it(argilla_home: Path) -> None:
    server = local_argilla.up(argilla_home, host="0.0.0.0", tls_in_front=True)
    assert addresses(server) == {"0.0.0.0"}
    assert server.url.startswith("http://127.0.0.1:")
    outside = [a.address for of in psutil.net_if_addrs().values() for a in of if a.family == socket.AF_INET]
    for address in outside:
        assert requests.get(f"http://{address}:{server.url.rpartition(':')[2]}/api/v1/version", timeout=60).ok


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = certificate(folder)
    yield local_argilla.up(folder / "argilla", host="0.0.0.0", tls_cert=cert, tls_key=key), cert
    local_argilla.down(folder / "argilla")


def test_with_a_certificate_it_speaks_tls_and_nothing_else(tls_server: tuple[Server, Path]) -> None:
    server, cert = tls_server
    assert server.url.startswith("https://127.0.0.1:")
    port = int(server.url.rpartition(":")[2])
    context = ssl.create_default_context(cafile=str(cert))
    with socket.create_connection(("127.0.0.1", port)) as raw:
        with context.wrap_socket(raw, server_hostname="argilla.example.org") as tls:
            assert tls.version() in ("TLSv1.2", "TLSv1.3")
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{server.url}/api/v1/version", timeout=60)  # nobody else vouches for it
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/api/v1/version", timeout=60)


def test_the_review_commands_trust_their_own_servers_certificate(tls_server: tuple[Server, Path]) -> None:
    server, _ = tls_server
    found = reach(server.home)
    assert found is not None
    assert (found.url, found.username, found.workspace) == (server.url, "owner", "uncited")
    client = connect(server.home)
    with closing(client.http_client):
        assert call(client, "GET", "/api/v1/me")["role"] == "owner"
    assert local_argilla.add_user(server.home, "ann").role == "annotator"


def test_a_server_with_another_certificate_does_not_get_the_key(
    tls_server: tuple[Server, Path], tmp_path: Path
) -> None:
    server, _ = tls_server
    shown = server.home / "certificate.pem"
    own = shown.read_text()
    shown.write_text(certificate(tmp_path)[0].read_text())
    try:
        with pytest.raises(ProviderError, match=r"certificate of https://.* is not valid: self-signed"):
            local_argilla.status(server.home)
    finally:
        shown.write_text(own)
    assert local_argilla.status(server.home) == server


def test_certificates_that_cannot_be_used_are_refused_before_anything_starts(
    argilla_home: Path, tmp_path: Path
) -> None:
    cert, key = certificate(tmp_path / "one")
    other_cert, _ = certificate(tmp_path / "two")
    locked_cert, locked_key = certificate(tmp_path / "locked", "-passout", "pass:secret")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"tls_cert": cert}, "both, or neither"),
        ({"tls_key": key}, "both, or neither"),
        ({"tls_cert": other_cert, "tls_key": key}, "cannot be used as a certificate and its key: .*mismatch"),
        ({"tls_cert": locked_cert, "tls_key": locked_key}, "locked with a password"),
        ({"tls_cert": tmp_path / "none.pem", "tls_key": key}, "none.pem cannot be read"),
        ({"tls_cert": key, "tls_key": key}, "cannot be used"),
    ]
    for given, message in wrong:
        with pytest.raises(UsageError, match=message):
            local_argilla.up(argilla_home, host="0.0.0.0", **given)
    assert not argilla_home.exists()


def test_a_running_server_does_not_move_unasked(tls_server: tuple[Server, Path]) -> None:
    server, cert = tls_server
    home, port = server.home, json.loads((server.home / "server.pid").read_text())["port"]
    assert local_argilla.up(home) == server
    assert local_argilla.up(home, host="0.0.0.0", port=port, tls_cert=cert, tls_key=cert.with_name("key.pem")) == server
    for other, wished in (({"host": "127.0.0.1"}, "--host 127.0.0.1"), ({"port": port + 1}, f"--port {port + 1}")):
        with pytest.raises(UsageError, match=f"runs already, at {server.url}") as error:
            local_argilla.up(home, **other)
        assert error.value.hint == f"uncited argilla down && uncited argilla up {wished}"
