"""`llmemb check`: check that a bundle answers. Serve it on a free port, send one request of each kind, and stop."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from pydantic import JsonValue

from llmemb.api.items import EmbedItemsResponse
from llmemb.api.recommend import RecommendResponse
from llmemb.bundle.bundle import Bundle
from llmemb.bundle.read import read_bundle
from llmemb.errors import BundleError

_TIMEOUT_SECONDS = 60


def check(arguments: list[str]) -> None:
    """Check a bundle with requests and print its answers.

    Raises:
        BundleError: the bundle cannot be read, or an answer is wrong.
    """
    parser = argparse.ArgumentParser(prog="llmemb check", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    folder = parser.parse_args(arguments).bundle
    bundle = read_bundle(folder)
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "llmemb", "serve", "--bundle", str(folder), "--port", "0"]
        with subprocess.Popen(  # noqa: S603 - our own program
            command, stdout=subprocess.PIPE, text=True, env=_environment(state)
        ) as server:
            try:
                _ask(_url(server), bundle)
            finally:
                server.terminate()


def _environment(state: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LLMEMB_")}
    return kept | {"LLMEMB_STATE_DIR": state}


def _url(server: "subprocess.Popen[str]") -> str:
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("serving on "):
            return line.split()[2]
    raise BundleError("the service did not start; see its message above")


def _ask(url: str, bundle: Bundle) -> None:
    row = int(bundle.items.popularity.argmax())
    item_id = bundle.items.ids[row]
    item = {"id": item_id, "attributes": json.loads(bundle.items.attributes_json[row])}
    embedded = EmbedItemsResponse.model_validate_json(_post(f"{url}/embed_items", {"items": [item]}))
    recommended = RecommendResponse.model_validate_json(_post(f"{url}/recommend", {"history": [item_id], "k": 5}))
    if embedded.bundle_id != bundle.manifest.id or not recommended.items:
        raise BundleError(f"{bundle.folder}: no answer for the item {item_id!r}")
    print(f"bundle {embedded.bundle_id} embeds {item_id} ({embedded.dimension} wide) and recommends after it:")
    for following in recommended.items:
        print(f"  {following.score:7.3f}  {following.id:>6}  {json.dumps(following.attributes, ensure_ascii=False)}")


def _post(url: str, body: dict[str, JsonValue]) -> bytes:
    request = urllib.request.Request(  # noqa: S310 - the address of our own process
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - the same
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        raise BundleError(f"{url} answered {error.code}: {error.read().decode()}") from error
    return content
