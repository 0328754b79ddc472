"""Milvus Lite for tests: a server in this process over a folder, stopped when the test is done with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from milvus_lite.adapter.grpc.server import start_server_in_thread
from milvus_lite.server_manager import server_manager_instance

from llmemb.bundle import Bundle
from llmemb_service.catalogue.milvus.segment import MilvusStore


@contextmanager
def milvus_store(bundle: Bundle, uri: Path | str) -> Iterator[MilvusStore]:
    """A store, closed in the end; the server of a file is stopped too."""
    store = MilvusStore(bundle, str(uri), "")
    try:
        yield store
    finally:
        store.close()
        server_manager_instance.release_server(str(uri))


@contextmanager
def milvus_server(folder: Path, port: int) -> Iterator[str]:
    """A server at a port, its data kept in the folder; yields its URI."""
    server, database, _ = start_server_in_thread(str(folder), port=port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(grace=0).wait()
        database.close()
