"""Bundles that are no good, offered to a running service: each is refused, and the running one goes on."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from llmemb.api.recommend import RecommendResponse
from llmemb.bundle.manifest import FileInfo, Manifest
from llmemb.client import Client
from tests.support.load import Load, show
from tests.support.service import DEADLINE_SECONDS, make_settings, serving

FILES = (
    "index.faiss", "items.parquet", "item_embeddings.safetensors", "projection.safetensors",
    "sequence_model.safetensors", "encoder/model.safetensors", "encoder/tokenizer.json",
)  # fmt: skip
ORDINARY = {"recommend": lambda client, number: client.recommend([str(number % 40 + 1)], k=20)}
ANSWER_SECONDS = 30
"""Budget for the refusal, on a busy machine."""


def change_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def seal(folder: Path, files: dict[str, Path]) -> None:
    """Write the manifest anew so that it names these files, whatever they hold."""
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    infos = {
        name: FileInfo(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), bytes=path.stat().st_size)
        for name, path in files.items()
    }
    manifest = manifest.model_copy(update={"files": manifest.files | infos, "id": "f" * 64})
    manifest = manifest.model_copy(update={"checksum": manifest.content_checksum()})
    (folder / "manifest.json").write_text(manifest.model_dump_json())


def garbage(name: str) -> Callable[[Path], None]:
    """A file that holds nothing of use, and whose hash is right."""

    def write(folder: Path) -> None:
        (folder / name).write_bytes(b"garbage" * 100)
        seal(folder, {name: folder / name})

    return write


def in_manifest(**members: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | members))

    return write


def in_file(name: str, change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: change(folder / name)


CORRUPTIONS: dict[str, Callable[[Path], None]] = {
    **{f"changed {name}": in_file(name, change_byte) for name in FILES},
    **{f"truncated {name}": in_file(name, truncate) for name in FILES},
    **{f"no {name}": in_file(name, Path.unlink) for name in FILES},
    # The encoder is another service's here, which reads its own files.
    **{f"garbage {name}": garbage(name) for name in FILES if not name.startswith("encoder/")},
    "folder for a file": in_file("items.parquet", replace_by_folder),
    "stray file": lambda folder: (folder / "encoder" / "adapter_config.json").write_text("{}") and None,
    "older format": in_manifest(format_version=2),
    "later format": in_manifest(format_version=99),
    "no format": in_manifest(format_version=None),
    "changed manifest": in_manifest(seed=999),
    "manifest no JSON": in_file("manifest.json", truncate),
    "manifest a list": lambda folder: (folder / "manifest.json").write_text("[]") and None,
}


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(tiny_bundle, folder / "one")
    return folder


@pytest.fixture(scope="module")
def url(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(make_settings(bundles / "one", tmp_path_factory.mktemp("state"))) as (_, url):
        yield url


def offer(url: str, name: object) -> httpx2.Response:
    return httpx2.post(f"{url}/admin/bundles", json={"bundle": name}, timeout=DEADLINE_SECONDS)


def answer(url: str) -> RecommendResponse:
    with Client(url) as client:
        return client.recommend(["1", "2"], k=40)


def test_corrupt_bundles_are_refused(url: str, bundles: Path, pytestconfig: pytest.Config) -> None:
    """409 with a reason, for every kind; not one recommendation fails or changes meanwhile."""
    before = answer(url)
    took: list[float] = []
    with Load(url, ORDINARY) as load:
        for kind, corrupt in CORRUPTIONS.items():
            folder = bundles / "corrupt"
            shutil.copytree(bundles / "one", folder)
            in_manifest(seed=1)(folder)
            seal(folder, {})
            corrupt(folder)
            began = time.monotonic()
            refused = offer(url, "corrupt")
            took.append(time.monotonic() - began)
            assert (refused.status_code, refused.json().get("code")) == (409, "swap_refused"), (kind, refused.text)
            assert str(folder.parent) not in refused.text, kind
            shutil.rmtree(folder)
        load.wait_for_each(ORDINARY, good=True, since=time.monotonic())
        loaded = httpx2.get(f"{url}/admin/bundles").json()

    assert not load.failed("recommend")
    assert answer(url) == before
    assert [each["role"] for each in loaded["loaded"]] == ["current"]
    assert loaded["loading"] is None
    assert max(took) < ANSWER_SECONDS
    show(pytestconfig, f"{len(took)} corrupt bundles are refused, each within {max(took):.2f} s; no request fails")


@pytest.mark.parametrize("name", ["nowhere", "empty", "file"])
def test_what_is_no_bundle_is_404(url: str, bundles: Path, name: str) -> None:
    """No such folder, one without a manifest, and a file."""
    (bundles / "empty").mkdir(exist_ok=True)
    (bundles / "file").write_text("no folder")
    refused = offer(url, name)

    assert (refused.status_code, refused.json()["code"]) == (404, "bundle_not_found")


@pytest.mark.parametrize(
    "name", ["../one", "..", ".", "", "/etc", "one/../one", "one/", "one\\..", "one\0", "%2e%2e", "x" * 200, 1, None]
)
def test_name_that_leads_elsewhere_is_422(url: str, name: object) -> None:
    """Only names of folders are taken, not ways to them."""
    refused = offer(url, name)

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
