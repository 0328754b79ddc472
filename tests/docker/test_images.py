"""The images, and the containers made of them."""

import json
import uuid

import pytest

from tests.docker.compose import REPOSITORY, Compose

pytestmark = pytest.mark.docker
PROFILES = ("train", "keys", "observe", "milvus", "load", "*")


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_file_is_valid(profile: str, compose: Compose) -> None:
    """Compose itself accepts it, with every profile."""
    compose.run("--profile", profile, "config", "--quiet")


def test_compose_file_for_cuda_is_valid(compose: Compose) -> None:
    """With the file that gives the containers a GPU."""
    files = ("-f", "docker-compose.yml", "-f", str(REPOSITORY / "docker" / "cuda.yml"))
    config = json.loads(compose.run(*files, "--profile", "train", "config", "--format", "json"))

    assert config["services"]["service"]["environment"]["LLMEMB_DEVICE"] == "cuda"


@pytest.mark.parametrize("name", ["service", "gateway"])
def test_image_has_a_user_a_health_check_and_a_way_to_end(name: str, compose: Compose) -> None:
    """None runs as root."""
    image = json.loads(compose.call("docker", "image", "inspect", f"llmemb-{name}:test"))[0]["Config"]

    assert int(image["User"].split(":")[0]) > 10_000
    assert image["Healthcheck"]["Test"]
    assert image["StopSignal"] == {"service": "SIGTERM", "gateway": "SIGUSR1"}[name]
    assert image["Labels"]["org.opencontainers.image.title"] == f"llmemb-{name}"


def test_containers_run_without_rights(compose: Compose) -> None:
    """Not as root, with no capability, and nothing but /tmp and their volumes can be written."""
    for name in ("service", "gateway", "redis"):
        container = compose.containers(name)[0]
        status = compose.call("docker", "exec", container, "cat", "/proc/self/status")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        assert int(fields["Uid"].split()[0]) != 0
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
        assert fields["NoNewPrivs"].strip() == "1"
        refused = compose.call("docker", "exec", container, "touch", "/usr/file", check=False)
        assert "Read-only file system" in refused
        compose.call("docker", "exec", container, "touch", "/tmp/file")


def test_password_of_redis_is_in_a_file_alone(compose: Compose) -> None:
    """In no environment and no list of processes; Redis asks for it."""
    container = compose.containers("redis")[0]
    password = compose.call("docker", "exec", container, "cat", "/run/redis-password/password").strip()

    assert len(password) == 64
    for name in ("redis", "service"):
        assert password not in json.dumps(compose.inspect(compose.containers(name)[0]))
        assert password not in compose.call("docker", "top", compose.containers(name)[0])
    assert "NOAUTH" in compose.call("docker", "exec", container, "redis-cli", "ping", check=False)


def test_up_without_a_bundle_says_what_to_do() -> None:
    """It fails immediately, names what is missing, and the log has the command."""
    with Compose(f"llmemb-none-{uuid.uuid4().hex[:8]}", None) as empty:
        said = empty.run("up", "--detach", "--wait", "--no-build", check=False)

        assert said.startswith("1\n")
        assert 'service "bundle" didn\'t complete successfully' in said
        assert "docker compose --profile train run --rm train" in empty.run("logs", "bundle")
