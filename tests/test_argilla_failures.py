"""What goes wrong with a local server: a clear message, and a way on that works."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from labeling import local_argilla
from labeling.local_argilla import Server, environment
from store.errors import InvalidDataError, MissingError, ProviderError, UsageError
from store.progress import silent
from tests.local_argilla_fixtures import TEXT_AND_LABEL, ask, eventually, make_dataset, push, record_ids, submit
from tests.test_cli import REPOSITORY, from_json, run


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """A workspace whose own Argilla, if a test starts it, does not outlive the test."""
    run("init", "w", cwd=tmp_path)
    yield tmp_path / "w"
    local_argilla.down(tmp_path / "w" / "argilla")


def follow(hint: str | None, folder: Path) -> None:
    """Run what an error says to run, as a person would, in the workspace."""
    assert hint is not None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(hint, shell=True, cwd=folder, env=os.environ | {"PATH": path}, check=True, capture_output=True)


def running(home: Path) -> Server:
    server = local_argilla.status(home)
    assert server is not None
    return server


def signs_in(server: Server) -> bool:
    form = {"username": server.username, "password": server.password}
    return requests.post(f"{server.url}/api/v1/token", data=form, timeout=60).status_code == 201


class TestProcesses:
    def test_a_number_that_another_program_has_by_now_is_not_the_server(self, argilla_home: Path) -> None:
        argilla_home.mkdir()
        with subprocess.Popen(["sleep", "600"]) as other:
            try:
                for left in (json.dumps({"pid": other.pid, "port": 6900}), json.dumps({"pid": 2**22}), "not JSON", ""):
                    (argilla_home / "server.pid").write_text(left)
                    assert local_argilla.status(argilla_home) is None
                    assert local_argilla.down(argilla_home) is False
                (argilla_home / "server.pid").write_text(json.dumps({"pid": other.pid, "port": 6900}))
                assert local_argilla.up(argilla_home).pid != other.pid
                assert local_argilla.down(argilla_home) is True
                assert other.poll() is None
            finally:
                other.kill()

    def test_three_ups_at_once_are_one_server(self, workspace: Path) -> None:
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda _: from_json("argilla", "up", cwd=workspace), range(3)))
        assert len({(up["url"], up["pid"]) for up in found}) == 1
        homes = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"])]
        assert sum(str(workspace / "argilla") in (words or ()) for words in homes) == 1

    def test_an_up_that_is_killed_leaves_a_server_that_the_next_one_finds_or_starts(self, workspace: Path) -> None:
        environment.ensure(silent)
        for wait_s in (0.4, 1.0, 2.0):
            words = [sys.executable, "-m", "cli", "argilla", "up"]
            with subprocess.Popen(words, cwd=workspace, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}) as up:
                time.sleep(wait_s)
                up.kill()
        assert signs_in(local_argilla.up(workspace / "argilla"))


class TestPorts:
    def test_a_named_port_in_use_is_refused(self, workspace: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            message = run("argilla", "up", "--port", port, cwd=workspace, status=2).stderr
        assert f"Port {port} of 127.0.0.1 is in use by another program" in message
        assert "Try:   uncited argilla up" in message
        assert local_argilla.status(workspace / "argilla") is None

    def test_without_a_name_the_next_free_one_is_taken_and_said(self, workspace: Path) -> None:
        home = workspace / "argilla"
        home.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            (home / "server.pid").write_text(json.dumps({"port": port}))  # where it listened last
            said = run("argilla", "up", cwd=workspace).stdout
        server = running(home)
        assert not server.url.endswith(f":{port}")
        assert f"Argilla is running at {server.url}" in said

    @pytest.mark.parametrize("port", [-1, 65536])
    def test_a_number_that_is_no_port_is_refused(self, argilla_home: Path, port: int) -> None:
        with pytest.raises(UsageError, match=f"Port {port} of 127.0.0.1 cannot be had"):
            local_argilla.up(argilla_home, port=port)

    @pytest.mark.parametrize("host", ["192.0.2.77", "no-such-host.invalid"])
    def test_an_address_of_another_machine_is_refused(self, argilla_home: Path, host: str) -> None:
        with pytest.raises(UsageError, match=f"{host}.* no address of this machine"):
            local_argilla.up(argilla_home, host=host, tls_in_front=True)


class TestFiles:
    def test_damaged_credentials_are_named_with_the_command_that_makes_new_ones(self, argilla_home: Path) -> None:
        argilla_home.mkdir()
        file = argilla_home / "credentials.json"
        for damage in ("", "{", "[]", "null", '{"username": "owner"}', "\x00" * 100):
            file.write_text(damage)
            with pytest.raises(InvalidDataError, match=r"credentials\.json is damaged") as error:
                local_argilla.up(argilla_home)
            assert error.value.hint == f"rm {file} && uncited argilla up"
            assert local_argilla.down(argilla_home) is False

    @pytest.mark.slow
    def test_a_running_server_whose_credentials_are_damaged_gets_new_ones(self, workspace: Path) -> None:
        home = workspace / "argilla"
        before = local_argilla.up(home)
        (home / "credentials.json").write_text("{}")
        with pytest.raises(InvalidDataError, match="is damaged") as error:
            local_argilla.status(home)
        assert error.value.hint is not None
        follow(error.value.hint, workspace)
        after = running(home)
        assert after.password != before.password
        assert signs_in(after)
        assert not signs_in(before)

        (home / "credentials.json").unlink()
        with pytest.raises(MissingError, match=r"credentials\.json is gone") as missing:
            local_argilla.up(home)
        assert missing.value.hint == error.value.hint.partition(" && ")[2]  # the rest of what was followed above
        local_argilla.down(home)
        assert signs_in(local_argilla.up(home))

        other = json.loads((home / "credentials.json").read_text()) | {"api_key": "another server's"}
        (home / "credentials.json").write_text(json.dumps(other))
        with pytest.raises(ProviderError, match="does not know the key in") as unknown:
            local_argilla.status(home)
        assert unknown.value.hint == missing.value.hint
        local_argilla.down(home)
        assert local_argilla.up(home).api_key == "another server's"

    def test_a_damaged_signing_secret_is_replaced_rather_than_used(self, argilla_home: Path) -> None:
        argilla_home.mkdir()
        (argilla_home / "secret").write_text("short\n")
        local_argilla.up(argilla_home)
        assert len((argilla_home / "secret").read_text().strip()) == 64

    def test_a_damaged_database_is_reported_with_the_log_and_the_hint_begins_anew(self, workspace: Path) -> None:
        home = workspace / "argilla"
        home.mkdir()
        (home / "argilla.db").write_bytes(b"this is not a database at all" * 100)
        with pytest.raises(ProviderError, match=r"(?s)argilla\.db is damaged.*server\.log.*is not a database") as error:
            local_argilla.up(home)
        assert local_argilla.status(home) is None
        follow(error.value.hint, workspace)
        assert signs_in(running(home))
        assert (home / "damaged" / "argilla.db").read_bytes().startswith(b"this is not")

    def test_what_a_server_says_as_it_dies_is_shown(self, argilla_home: Path) -> None:
        argilla_home.mkdir()
        (argilla_home / "argilla.db").mkdir()  # a folder where the database should be
        with pytest.raises(ProviderError, match=r"(?s)ended at its start.*server\.log:.*unable to open database file"):
            local_argilla.up(argilla_home)
        assert local_argilla.status(argilla_home) is None

    def test_a_home_that_cannot_be_one_is_named(self, workspace: Path) -> None:
        (workspace / "argilla").write_text("a file")
        message = run("argilla", "up", cwd=workspace, status=6).stderr
        assert f"{workspace / 'argilla'} cannot be used: File exists" in message
        assert "Not running" in run("argilla", "status", cwd=workspace).stdout

    @pytest.mark.slow
    def test_a_copy_of_a_home_is_a_server_of_its_own_with_the_same_reviews(self, tmp_path: Path) -> None:
        home, copy = tmp_path / "argilla", tmp_path / "elsewhere" / "argilla"
        try:
            original = local_argilla.up(home)
            dataset_id = make_dataset(original, "copied", TEXT_AND_LABEL)
            push(original, dataset_id, 3)
            ann = local_argilla.add_user(home, "ann")
            submit(original, record_ids(original, dataset_id)[0], ann.api_key)
            local_argilla.down(home)
            copy.parent.mkdir()
            subprocess.run(["cp", "-r", "--no-preserve=mode", home, copy], check=True)  # as careless as a person
            original, moved = local_argilla.up(home), local_argilla.up(copy)
            assert (original.home, moved.home) == (home, copy)
            assert original.url != moved.url
            assert ask(moved, "GET", f"/datasets/{dataset_id}/progress")["completed"] == 1
            assert local_argilla.add_user(copy, "ann") == ann
            for name in ("credentials.json", "secret", "users/ann.json"):
                assert (copy / name).stat().st_mode & 0o077 == 0
            submit(moved, record_ids(moved, dataset_id)[1], ann.api_key)
            assert ask(original, "GET", f"/datasets/{dataset_id}/progress")["completed"] == 1
        finally:
            local_argilla.down(home)
            local_argilla.down(copy)

    def test_a_copy_of_a_running_home_is_not_taken_for_running(self, argilla_server: Server, tmp_path: Path) -> None:
        shutil.copytree(argilla_server.home, tmp_path / "copy", ignore=shutil.ignore_patterns("tmp"))
        assert local_argilla.status(tmp_path / "copy") is None
        assert local_argilla.down(tmp_path / "copy") is False
        assert running(argilla_server.home) == argilla_server


# Run in a mount namespace of its own, in which FOLDER is a disk of a few megabytes.
ON_A_SMALL_DISK = """
set -e
mount -t tmpfs -o size=$SIZE tmpfs "$FOLDER"
exec "$@"
"""


def on_a_small_disk(folder: Path, megabytes: int, *command: object, **environment: str) -> str:
    """Run a command that finds a small disk at `folder`; return what it said."""
    folder.mkdir(parents=True, exist_ok=True)
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small disk takes unshare (Debian: apt install util-linux) and a kernel that lets us mount")
    variables = {"FOLDER": str(folder), "SIZE": f"{megabytes}m", "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    done = subprocess.run(
        [*alone, "sh", "-c", ON_A_SMALL_DISK, "sh", *map(str, command)],
        env=os.environ | variables | environment,
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


class TestFullDisks:
    def test_a_home_without_room(self, workspace: Path) -> None:
        said = on_a_small_disk(workspace / "argilla", 1, sys.executable, "-m", "cli", "argilla", "up")
        assert f"The disk of {workspace / 'argilla'} is full; Argilla cannot be started" in said
        assert f"Try:   df -h {workspace / 'argilla'}" in said

    @pytest.mark.parametrize("megabytes", [1, pytest.param(40, marks=pytest.mark.slow)])
    def test_no_room_for_the_servers_environment(self, workspace: Path, megabytes: int) -> None:
        cache = workspace / "cache"  # too small for Python's own part, or for the packages
        command = [sys.executable, "-m", "cli", "argilla", "up"]
        said = on_a_small_disk(cache, megabytes, *command, UNCITED_CACHE=str(cache))
        assert f"The disk of {cache / 'uncited'} is full" in said
        assert "Try:   UNCITED_CACHE=/another/disk uncited argilla up" in said

    def test_a_disk_that_fills_while_people_review_loses_no_answer_and_works_again(self, tmp_path: Path) -> None:
        said = on_a_small_disk(tmp_path / "disk", 60, sys.executable, "-c", FILLING, tmp_path / "disk" / "argilla")
        assert said.endswith("all is well\n"), said


FILLING = """
import sys
from pathlib import Path
from labeling import local_argilla
from labeling.argilla_client import call, connect
from store.errors import ProviderError
from tests.local_argilla_fixtures import TEXT_AND_LABEL, ask, make_dataset, push, record_ids

home = Path(sys.argv[1])
server = local_argilla.up(home)
client = connect(home)
dataset_id = make_dataset(server, "filling", TEXT_AND_LABEL)
push(server, dataset_id, 300)
accepted = []

def submit(record_id):
    body = {"status": "submitted", "values": {"label": {"value": "yes"}}}
    call(client, "POST", f"/api/v1/records/{record_id}/responses", json=body)
    accepted.append(record_id)

ids = record_ids(server, dataset_id)
submit(ids.pop())
ballast = home.parent / "ballast"
with ballast.open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
refused = None
while ids and refused is None:
    try:
        submit(ids.pop())
    except ProviderError as error:
        refused = error
assert refused is not None, "300 answers found room on a full disk"
assert refused.message.startswith(f"Argilla at {server.url} answered 500"), refused.message
assert refused.hint == "uncited argilla status"
assert "0 MB left" in local_argilla.little_disk(home)
ballast.unlink()
for record_id in [ids.pop(), ids.pop()]:
    submit(record_id)
kept = ask(server, "GET", f"/datasets/{dataset_id}/records?limit=1000&include=responses")["items"]
assert {record["id"] for record in kept if record["responses"]} >= set(accepted)
local_argilla.down(home)
again = local_argilla.up(home)
assert ask(again, "GET", f"/datasets/{dataset_id}/progress")["completed"] >= len(accepted)
local_argilla.down(home)
print("all is well")
"""


class TestEnvironment:
    def test_a_failed_installation_tells_why_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requirements = tmp_path / "requirements.txt"
        requirements.write_text("there-is-no-such-package-uncited==1.0\n")
        monkeypatch.setattr(environment, "_REQUIREMENTS", requirements)
        monkeypatch.setenv("UNCITED_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        with pytest.raises(ProviderError, match="No matching distribution found for there-is-no-such-package") as error:
            environment.ensure(silent)
        assert error.value.hint == "uncited argilla up"
        left = [path.name for path in (tmp_path / "cache" / "uncited").iterdir()]
        assert left == ["argilla-server-2.8.0.lock"]

    def test_a_python_without_what_makes_environments_says_what_to_install(self, tmp_path: Path) -> None:
        """Debian's python3, for one, has no ensurepip before python3-venv is installed."""
        library = Path(os.__file__).parent
        for lacking in ({"ensurepip"}, {"ensurepip", "venv"}):
            prefix = tmp_path / "-".join(sorted(lacking))
            modules = prefix / "lib" / library.name
            modules.mkdir(parents=True)
            for entry in library.iterdir():
                if entry.name not in lacking:
                    (modules / entry.name).symlink_to(entry)
            (prefix / "bin").mkdir()
            python = prefix / "bin" / "python3"
            shutil.copy(
                Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}", python
            )
            code = (
                "from labeling.local_argilla import environment\n"
                "from store.errors import ProviderError\n"
                "from store.progress import silent\n"
                "try: environment.ensure(silent)\n"
                "except ProviderError as error: print(error.message, error.hint)\n"
            )
            variables = {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(REPOSITORY),
                "UNCITED_CACHE": str(tmp_path / "c"),
            }
            if library_path := os.environ.get("LD_LIBRARY_PATH"):
                variables["LD_LIBRARY_PATH"] = library_path
            done = subprocess.run([python, "-c", code], env=variables, capture_output=True, text=True, check=False)
            assert f"{python} cannot make the Argilla server's environment" in done.stdout, done.stderr
            assert all(f"no {name}" in done.stdout for name in lacking)
            assert "apt install python3-venv" in done.stdout
            assert [p.name for p in (tmp_path / "c" / "uncited").iterdir()] == ["argilla-server-2.8.0.lock"]

    def test_an_environment_in_which_something_is_missing_is_named(
        self, argilla_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = environment.ensure(silent).parents[1]
        damaged = tmp_path / "uncited" / whole.name
        damaged.parent.mkdir()
        linked = subprocess.run(["cp", "-rl", whole, damaged], capture_output=True, check=False)
        if linked.returncode:  # another disk
            subprocess.run(["cp", "-r", whole, damaged], check=True)
        monkeypatch.setenv("UNCITED_CACHE", str(tmp_path))
        (package,) = damaged.glob("lib/python*/site-packages/sqlalchemy")
        shutil.rmtree(package)
        with pytest.raises(ProviderError, match=r"(?s)Something is missing in .*No module named 'sqlalchemy'") as error:
            local_argilla.up(argilla_home)
        assert error.value.hint == f"rm -r {shlex.quote(str(damaged))} && uncited argilla up"

    @pytest.mark.slow
    def test_an_installation_that_is_killed_midway_is_done_again(self, workspace: Path, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        variables = os.environ | {"UNCITED_CACHE": str(cache), "PYTHONPATH": str(REPOSITORY)}
        words = [sys.executable, "-m", "cli", "argilla", "up"]
        installing = subprocess.Popen(words, cwd=workspace, env=variables, start_new_session=True)
        try:
            half_made = "uncited/argilla-server-2.8.0-building-*/lib/python*/site-packages/pip"
            assert eventually(lambda: any(cache.glob(half_made)), within_s=120)
            time.sleep(3)
        finally:
            os.killpg(installing.pid, signal.SIGKILL)
            installing.wait()
        assert [p.name for p in (cache / "uncited").glob("*-building-*")], "something was left half made"
        run("argilla", "up", cwd=workspace, UNCITED_CACHE=str(cache))
        assert signs_in(running(workspace / "argilla"))
        assert not list((cache / "uncited").glob("*-building-*"))
