"""Schemathesis over every route of the running service: what the description allows is taken, what it forbids is
refused, and every answer is one that it names.

`make fuzz` runs it longer: SCHEMATHESIS_EXAMPLES are the requests made up for each route, SCHEMATHESIS_SEED draws
others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmemb.api.items import ItemBody
from llmemb.client import Client
from llmemb_service.guard.keys import Role, key_line, make_key
from tests.support.narrowed import narrowed
from tests.support.service import HEAT, make_settings, serving

EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "10")
SEED = os.environ.get("SCHEMATHESIS_SEED", "5")
CONFIG = """
# All checks are on by default; an option of the command line would win over these.
[[operations]]
include-operation-id = "read_session"
# Events make a session again after it was forgotten, which the check does not see: it looks for a POST above the path.
checks.use_after_free.enabled = false
"""
KNOWN_IDS = [str(number) for number in range(1, 11)]
OWN_IDS = ["new", "a/similar", "né w", "similar"]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Service:
    """The running service, and a key that may do everything."""

    url: str
    key: str
    description: dict[str, Any]


@pytest.fixture(scope="module")
def service(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """All that the description names, on a real socket, with API keys in force."""
    folder = tmp_path_factory.mktemp("schemathesis")
    key, kept = make_key("schemathesis", (Role.ADMIN,), None)
    keys_file = folder / "keys.jsonl"
    keys_file.write_text(key_line(kept) + "\n")
    settings = make_settings(
        tiny_bundle, folder / "state", bundles_dir=folder / "bundles", api_keys_file=keys_file, max_k=50
    )
    settings.bundles_dir.mkdir()
    with serving(settings) as (_, url), Client(url, api_key=key) as client:
        # The films that the description's examples name.
        client.embed_items([ItemBody(id=film, attributes=HEAT) for film in ("50", "172")], index=True)
        client.add_events("a-session", KNOWN_IDS)
        yield Service(url, key, httpx2.get(f"{url}/openapi.json").json())


def schemathesis(service: Service, folder: Path, description: dict[str, Any], mode: str, config: str) -> str:
    """Run all checks; returns what it printed, and fails with it when a check did."""
    (folder / "openapi.json").write_text(json.dumps(description))
    (folder / "schemathesis.toml").write_text(config)
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", "openapi.json",
            "--url", service.url, "--mode", mode, "--header", f"Authorization: Bearer {service.key}",
            "--max-examples", EXAMPLES, "--seed", SEED, "--continue-on-failure",
            "--generation-with-security-parameters", "false", "--generation-database", "none", "--no-color",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    return done.stdout


def test_what_the_description_allows_is_taken(service: Service, tmp_path: Path) -> None:
    """Every request that it allows for this bundle, and every answer is as described."""
    description = narrowed(service.description, known_ids=KNOWN_IDS, own_ids=OWN_IDS, max_k=50)
    printed = schemathesis(service, tmp_path, description, "positive", CONFIG)

    assert_all_routes_were_asked(service, printed)


def test_what_the_description_forbids_is_refused(service: Service, tmp_path: Path) -> None:
    """By a problem that it names."""
    # Which requests must be taken it cannot say for one catalogue; that is the other test.
    config = f"checks.positive_data_acceptance.enabled = false\n{CONFIG}"
    printed = schemathesis(service, tmp_path, service.description, "negative", config)

    assert_all_routes_were_asked(service, printed)


def assert_all_routes_were_asked(service: Service, printed: str) -> None:
    """A route that is passed over would fail no check."""
    number = sum(len(methods) for methods in service.description["paths"].values())
    assert f"Operations:       {number} selected / {number} total" in printed
    assert f"Tested: {number}\n" in printed
