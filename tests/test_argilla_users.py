"""Reviewers of a local server: added, listed, removed."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from labeling import local_argilla
from labeling.local_argilla import Credentials, Server
from store.errors import InvalidDataError, MissingError, UsageError
from tests.local_argilla_fixtures import TEXT_AND_LABEL, ask, make_dataset, push, record_ids, submit
from tests.test_cli import from_json, run


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace whose own Argilla runs."""
    folder = tmp_path_factory.mktemp("users")
    run("init", "w", cwd=folder)
    run("argilla", "up", cwd=folder / "w")
    yield folder / "w"
    run("argilla", "down", cwd=folder / "w")


@pytest.fixture
def server(workspace: Path) -> Server:
    running = local_argilla.status(workspace / "argilla")
    assert running is not None
    return running


def signs_in(server: Server, username: str, password: str) -> bool:
    form = {"username": username, "password": password}
    return requests.post(f"{server.url}/api/v1/token", data=form, timeout=60).status_code == 201


def test_a_reviewer_is_added_listed_and_removed_from_the_command_line(workspace: Path, server: Server) -> None:
    made = from_json("argilla", "user", "add", "ann", cwd=workspace)
    assert set(made) == {"username", "password", "role"}  # and no key, neither hers nor the owner's
    assert made["role"] == "annotator"
    assert signs_in(server, "ann", made["password"])
    again = run("argilla", "user", "add", "ann", cwd=workspace).stdout
    assert again == f"ann (annotator), password: {made['password']}\n"

    file = workspace / "argilla" / "users" / "ann.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = from_json("argilla", "user", "list", cwd=workspace)
    assert [(u["username"], u["role"]) for u in listed] == [("owner", "owner"), ("ann", "annotator")]
    table = run("argilla", "user", "list", cwd=workspace).stdout
    assert "argilla/users/ann.json" in table
    assert made["password"] not in table

    run("argilla", "user", "remove", "ann", cwd=workspace)
    assert not file.exists()
    assert not signs_in(server, "ann", made["password"])
    assert [u["username"] for u in from_json("argilla", "user", "list", cwd=workspace)] == ["owner"]
    message = run("argilla", "user", "remove", "ann", cwd=workspace, status=4).stderr
    assert "'ann' is no reviewer" in message
    assert "uncited argilla user list" in message


def test_who_is_removed_sees_nothing_more_and_the_answers_keep_their_name(server: Server) -> None:
    dataset_id = make_dataset(server, "left", TEXT_AND_LABEL)
    push(server, dataset_id, 2)
    first, second = record_ids(server, dataset_id)
    zoe = local_argilla.add_user(server.home, "zoe")
    submit(server, first, zoe.api_key)
    user_id = ask(server, "GET", "/me", key=zoe.api_key)["id"]
    local_argilla.remove_user(server.home, "zoe")

    def refused(method: str, path: str, body: object = None) -> bool:
        headers = {"X-Argilla-Api-Key": zoe.api_key}
        answer = requests.request(method, f"{server.url}/api/v1{path}", json=body, headers=headers, timeout=60)
        return answer.status_code == 403

    assert ask(server, "GET", "/me/datasets", key=zoe.api_key)["items"] == []
    assert refused("GET", f"/datasets/{dataset_id}")
    assert refused("GET", f"/records/{first}")
    assert refused("POST", f"/me/datasets/{dataset_id}/records/search", {})
    body = {"status": "submitted", "values": {"label": {"value": "no"}}}
    assert refused("POST", f"/records/{second}/responses", body)
    records = ask(server, "GET", f"/datasets/{dataset_id}/records?include=responses")["items"]
    assert [r["user_id"] for record in records for r in record["responses"]] == [user_id]
    assert user_id in {user["id"] for user in ask(server, "GET", "/users")["items"]}

    back = local_argilla.add_user(server.home, "zoe")  # the same account, with another password
    assert back.password != zoe.password
    assert signs_in(server, "zoe", back.password)
    submit(server, second, back.api_key)


def test_a_user_whose_credentials_were_lost_gets_new_ones(server: Server) -> None:
    first = local_argilla.add_user(server.home, "forgetful")
    (server.home / "users" / "forgetful.json").unlink()
    second = local_argilla.add_user(server.home, "forgetful")
    assert second.password != first.password
    assert signs_in(server, "forgetful", second.password)


def test_a_damaged_file_of_credentials_is_named_with_what_to_do(server: Server) -> None:
    local_argilla.add_user(server.home, "dan")
    file = server.home / "users" / "dan.json"
    for damage in ("", "{", '{"username": "dan"}', "[]", '{"username": 1, "password": "", "api_key": "", "role": ""}'):
        file.write_text(damage)
        with pytest.raises(InvalidDataError, match=r"users/dan\.json is damaged") as error:
            local_argilla.add_user(server.home, "dan")
        assert error.value.hint == f"rm {file} && uncited argilla user add dan"
    file.unlink()
    assert signs_in(server, "dan", local_argilla.add_user(server.home, "dan").password)


def test_credentials_of_a_user_that_the_server_does_not_know_are_made_anew(server: Server) -> None:
    file = server.home / "users" / "eve.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"username": "eve", "password": "p", "api_key": "of another server", "role": "admin"}))
    made = local_argilla.add_user(server.home, "eve")
    assert made.role == "annotator"
    assert signs_in(server, "eve", made.password)


def test_a_name_that_was_made_elsewhere_reaches_no_other_file(server: Server) -> None:
    account = {"username": "../credentials", "first_name": "x", "role": "annotator", "password": "long enough"}
    user = ask(server, "POST", "/users", account)
    workspace = ask(server, "GET", "/me/workspaces")["items"][0]["id"]
    ask(server, "POST", f"/workspaces/{workspace}/users", {"user_id": user["id"]})
    (listed,) = [u for u in local_argilla.list_users(server.home) if u.username == "../credentials"]
    assert listed.credentials is None
    local_argilla.remove_user(server.home, "../credentials")
    assert local_argilla.status(server.home) == server


@pytest.mark.parametrize("name", ["", "owner", "../escape", "a b", "-x", "x" * 101])
def test_names_that_cannot_be_users_are_refused(server: Server, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a user's name"):
        local_argilla.add_user(server.home, name)


def test_the_owner_cannot_be_removed(server: Server) -> None:
    with pytest.raises(MissingError, match="'owner' is no reviewer"):
        local_argilla.remove_user(server.home, "owner")


def test_users_need_a_running_server(argilla_home: Path) -> None:
    for act in (local_argilla.add_user, local_argilla.remove_user):
        with pytest.raises(MissingError, match="No Argilla server") as error:
            act(argilla_home, "ann")
        assert error.value.hint == "uncited argilla up"
    with pytest.raises(MissingError, match="No Argilla server"):
        local_argilla.list_users(argilla_home)
    assert not argilla_home.exists()


def test_users_of_a_teams_server_are_not_made_from_here(workspace: Path, server: Server) -> None:
    team = {"ARGILLA_API_URL": "https://argilla.example.org", "ARGILLA_API_KEY": "key"}
    for words in (("add", "ann"), ("list",), ("remove", "ann")):
        message = run("argilla", "user", *words, cwd=workspace, status=2, **team).stderr
        assert "ARGILLA_API_URL names https://argilla.example.org" in message
        assert "unset ARGILLA_API_URL" in message


def test_credentials_do_not_print_what_is_secret() -> None:
    assert "hidden" not in repr(Credentials("ann", "hidden-password", "hidden-key", "annotator"))
