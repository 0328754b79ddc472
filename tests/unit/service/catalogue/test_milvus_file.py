"""A file of Milvus Lite: taken by another process, at a long path, killed while it was written, or no such file."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmemb.api.recommend import Filters
from llmemb.bundle import read_bundle
from llmemb.errors import ConfigError
from llmemb_service.catalogue.milvus.collection import PREFIX
from llmemb_service.catalogue.milvus.connection import MilvusConnection
from llmemb_service.catalogue.milvus.open import open_vector_store
from llmemb_service.catalogue.snapshot.snapshot import Snapshot
from tests.support.milvus import milvus_store
from tests.support.service import make_settings
from tests.support.waiting import wait_until

_OPEN = """
import sys
from milvus_lite import MilvusLite

database = MilvusLite(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""
_FILL = """
import sys
from pathlib import Path
from llmemb.bundle import read_bundle
from llmemb_service.catalogue.milvus.segment import MilvusStore

MilvusStore(read_bundle(Path(sys.argv[2])), sys.argv[1], "")
sys.stdin.read()
"""


@contextmanager
def other_process(program: str, *arguments: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the file; killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def said_open(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "open\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """At a path of more than 120 bytes, which a Unix socket's could not be, with a letter that is no ASCII."""
    folder = tmp_path / ("ü" * 60)
    folder.mkdir()
    return folder / "milvus.db"


def open_store(bundle: Path, uri: str, tmp_path: Path) -> None:
    settings = make_settings(bundle, tmp_path / "state", vector_store="milvus", milvus_uri=uri)
    open_vector_store(settings, read_bundle(bundle))


def test_file_of_another_process_is_refused_by_a_sentence(
    tiny_bundle: Path, tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It names the file, and there is no traceback; when the other one is killed, the file can be opened."""
    with other_process(_OPEN, file) as other:
        assert said_open(other)
        with pytest.raises(ConfigError) as refused:
            open_store(tiny_bundle, str(file), tmp_path)

    assert str(refused.value) == (
        f"LLMEMB_MILVUS_URI: another process uses {file}; give each process its own file, or use a Milvus server"
    )
    assert "Traceback" not in capfd.readouterr().err
    bundle = read_bundle(tiny_bundle)
    with milvus_store(bundle, file) as store:
        assert len(store.base) == len(bundle.items.ids)


def test_file_whose_process_was_killed_while_it_filled_is_filled_again(tiny_bundle: Path, file: Path) -> None:
    """All items are found."""
    with other_process(_FILL, file, tiny_bundle):
        wait_until(lambda: any(file.glob("collections/*")), "the file is being filled")
    bundle = read_bundle(tiny_bundle)
    everything = Snapshot.of(bundle).selection(Filters(), [])
    with milvus_store(bundle, file) as store:
        [hits] = store.base.search(bundle.item_vectors[:1], [len(bundle.items.ids)], [everything])

    assert sorted(hits.rows.tolist()) == list(range(len(bundle.items.ids)))


def test_collection_whose_creation_was_killed_is_created_again(tiny_bundle: Path, file: Path) -> None:
    """Killed between the two, Milvus Lite leaves the collection's folder without its schema."""
    bundle = read_bundle(tiny_bundle)
    (file / "collections" / f"{PREFIX}{bundle.manifest.id}_{bundle.index.spec.kind}").mkdir(parents=True)

    with milvus_store(bundle, file) as store:
        assert len(store.base) == len(bundle.items.ids)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("missing/m.db", "the folder of {} does not exist"),
        ("old.db", "{} is a file, as Milvus Lite before version 3 wrote it; choose another path, which is filled anew"),
        (f"{'x' * 300}.db", "{} cannot be opened: File name too long"),
    ],
    ids=["no folder", "old file", "long name"],
)
def test_path_that_cannot_be_opened_is_refused_by_a_sentence(
    tiny_bundle: Path, tmp_path: Path, place: str, reason: str
) -> None:
    """It names the variable and the path."""
    (tmp_path / "old.db").write_bytes(b"SQLite format 3\0")

    with pytest.raises(ConfigError) as refused:
        open_store(tiny_bundle, str(tmp_path / place), tmp_path)

    assert str(refused.value) == f"LLMEMB_MILVUS_URI: {reason.format(tmp_path / place)}"


def test_uri_of_another_kind_is_refused_without_its_credentials() -> None:
    """A URI may contain a password."""
    with pytest.raises(ConfigError) as refused:
        MilvusConnection("redis://user:secret@host", "").call(lambda client: client.list_collections())

    assert str(refused.value) == "LLMEMB_MILVUS_URI: not a URI of Milvus, such as http://host:19530"
