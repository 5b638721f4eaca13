"""What docs/argilla.md and docs/docker-compose.yaml say of Argilla, against the Argilla that is installed."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from labeling import local_argilla
from labeling.local_argilla import Server, environment
from store.progress import silent

DOCS = Path(__file__).resolve().parents[1] / "docs"
OF_THE_IMAGE = {"USERNAME", "PASSWORD", "WORKSPACE"}  # read by the image's start script, not by the package
OF_UNCITED = {"ARGILLA_API_URL", "ARGILLA_API_KEY", "ARGILLA_WORKSPACE", "ARGILLA_HOST"}
NAMES = """
import json
from argilla_server.settings import Settings
from argilla_server.security.settings import Settings as Security
named = [s.model_config["env_prefix"] + name.upper() for s in (Settings, Security) for name in s.model_fields]
print(json.dumps(named))
"""
TAKEN = """
import json, os, sys
from argilla_server.settings import Settings
from argilla_server.security.settings import Settings as Security
os.environ.update(json.loads(sys.argv[1]))
taken, security = Settings(), Security()
print(json.dumps([taken.database_url, taken.cors_origins, taken.search_engine, taken.enable_telemetry,
                  taken.redis_url, taken.elasticsearch, security.secret_key]))
"""


def in_argillas_environment(code: str, home: Path, *words: str) -> Any:  # noqa: ANN401
    python = environment.ensure(silent)
    variables = {"ARGILLA_HOME_PATH": str(home)}
    done = subprocess.run([python, "-c", code, *words], env=variables, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@cache
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((DOCS / "docker-compose.yaml").read_text())
    return parsed


def test_every_variable_of_the_compose_file_is_explained_and_none_may_be_forgotten(tmp_path: Path) -> None:
    used = set(re.findall(r"\$\{(\w+)", json.dumps(compose())))
    page = (DOCS / "argilla.md").read_text()
    explained = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))
    assert used == explained
    assert all(f"${{{name}:?}}" in json.dumps(compose()) for name in used)
    recipe = "umask 077" + page.split("$ umask 077")[1].split("$ docker")[0]
    subprocess.run(re.sub(r"^[$>] ", "", recipe, flags=re.MULTILINE), shell=True, cwd=tmp_path, check=True)
    written = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert set(written) == used
    assert all(written.values())
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_the_settings_that_the_compose_file_and_the_page_name_are_argillas(tmp_path: Path) -> None:
    known = set(in_argillas_environment(NAMES, tmp_path))
    assert {"ARGILLA_DATABASE_URL", "ARGILLA_AUTH_SECRET_KEY"} <= known
    for service in ("argilla", "worker"):
        named = set(compose()["services"][service]["environment"])
        assert named - known - OF_THE_IMAGE == {"HF_HUB_DISABLE_TELEMETRY"}
    mentioned = set(re.findall(r"ARGILLA_\w+", (DOCS / "argilla.md").read_text()))
    assert mentioned - known - OF_UNCITED == set()
    launcher = (Path(local_argilla.__file__).parent / "server" / "uncited_argilla" / "__main__.py").read_text()
    assert set(re.findall(r'"(ARGILLA_\w+)"', launcher)) <= known


def test_argilla_takes_the_values_of_the_compose_file(tmp_path: Path) -> None:
    given = {
        name: re.sub(r"\$\{(\w+):\?\}", lambda found: f"value-of-{found[1]}", value)
        for name, value in compose()["services"]["worker"]["environment"].items()
        if name != "ARGILLA_HOME_PATH"
    }
    taken = in_argillas_environment(TAKEN, tmp_path, json.dumps(given))
    assert taken == [
        "postgresql+asyncpg://argilla:value-of-POSTGRES_PASSWORD@postgres:5432/argilla",
        [],
        "elasticsearch",
        False,
        "redis://redis:6379/0",
        "http://elasticsearch:9200",
        "value-of-ARGILLA_AUTH_SECRET_KEY",
    ]


def test_the_compose_file_opens_the_proxy_only_and_refers_to_what_is_there() -> None:
    services = compose()["services"]
    assert {name for name, service in services.items() if "ports" in service} == {"proxy"}
    assert services["argilla"]["image"] == services["worker"]["image"] == "argilla/argilla-server:v2.8.0"
    assert compose()["networks"]["data"] == {"internal": True}
    for service in services.values():
        assert set(service["networks"]) <= set(compose()["networks"])
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(compose()["volumes"])
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[needed]


def test_the_compose_file_pins_every_image() -> None:
    images = {service["image"] for service in compose()["services"].values()}
    assert all(re.search(r":v?\d", image) for image in images)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_pages_recipe_for_a_user_works(argilla_server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    (recipe,) = re.findall(r"```python\n(.*?)```", (DOCS / "argilla.md").read_text(), re.DOTALL)
    recipe = recipe.replace("https://argilla.example.org", argilla_server.url)
    exec(recipe.replace("THE-OWNERS-KEY", argilla_server.api_key).replace('"ann"', '"made-by-recipe"'), {})
    assert capsys.readouterr().out.strip()
    listed = {user.username: user.role for user in local_argilla.list_users(argilla_server.home)}
    assert listed["made-by-recipe"] == "annotator"


def test_links_within_the_docs_lead_somewhere() -> None:
    for page in sorted(DOCS.glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)", page.read_text()):
            assert not target or (page.parent / target).exists(), f"{page.name}: {target}"
