"""Redis as people run it: with passwords of any characters, a CA of their own, few permissions, or as a cluster."""

import asyncio
import logging
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from pydantic import SecretStr

from llmemb.errors import ConfigError
from llmemb_service.backup.backup import write_backup
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.restore import restore_backup
from llmemb_service.encoding.cache import open_cache
from llmemb_service.encoding.prompt_encoder import RawEmbedding
from llmemb_service.errors import StorageError
from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings
from llmemb_service.storage.changes import RemoveItem
from llmemb_service.storage.redis.connections import connect, describe_error
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import DictFollower, put
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

PASSWORD = "p@s/s#w%r"
ENCODED = quote(PASSWORD, safe="")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def settings_of(url: str, **others: object) -> Settings:
    return Settings(
        bundle=Path("bundle"), redis_url=SecretStr(url), redis_retry_seconds=0.1, redis_timeout_seconds=5, **others  # type: ignore[arg-type]
    )  # fmt: skip


async def ping(settings: Settings) -> str:
    """Answer `ok`, or what is said of the failure."""
    async with connect(settings) as redis:
        try:
            await redis.set("llmemb:x", 1)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is described
            return describe_error(error)
        return "ok"


async def use_everything(settings: Settings, folder: Path) -> None:
    """Write and read the catalogue, sessions and the cache, back them up and restore them; nothing has a fault."""
    async with open_storage(settings, 10) as storage:
        follower = DictFollower()
        await storage.items.attach(follower)
        await storage.items.append([put("a", 1), put("b", 2)])
        await storage.items.keep_vectors("b2", {"a": ('{"title":"é 1"}', np.ones(2, dtype=np.float32))})
        await storage.sessions.append("s", ["a", "b"])
        assert (await storage.sessions.read("s")) is not None
        await storage.sessions.remove("s")
        await storage.sessions.append("s", ["a"])
        assert list(follower.items) == ["a", "b"]
        assert await storage.items.fault() is None
        assert await storage.sessions.fault() is None
    cache = open_cache(settings, Metrics())
    await cache.write({"one": RawEmbedding(np.ones(2, dtype=np.float32), 3)})
    [found] = await cache.read(["one"])
    assert found is not None
    assert await cache.fault() is None
    await cache.close()
    backup = await write_backup(settings, folder / "backup.zip", Progress())
    await restore_backup(settings, backup.path, replace=True, progress=Progress())


def test_password_of_any_characters_works_encoded_or_by_file(server: RedisServer, tmp_path: Path) -> None:
    """Percent-encoded in the URL, and as it is in the file."""
    with server.client() as client:
        client.config_set("requirepass", PASSWORD)
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\r\n", encoding="utf-8")
    place = f"127.0.0.1:{server.port}/0"

    assert asyncio.run(ping(settings_of(f"redis://:{ENCODED}@{place}"))) == "ok"
    assert asyncio.run(ping(settings_of(f"redis://default:{ENCODED}@{place}"))) == "ok"
    assert asyncio.run(ping(settings_of(f"redis://{place}", redis_password_file=secret))) == "ok"
    refusal = "Redis refuses the command: "
    assert asyncio.run(ping(settings_of(f"redis://:x@{place}"))) == f"{refusal}the user or the password is wrong"
    assert asyncio.run(ping(settings_of(f"redis://{place}"))) == f"{refusal}it requires a password"


@pytest.mark.parametrize("password", [PASSWORD, "p/w", "1/2", "p#w", "1#w", "p?w", "1?w", "p[w", "7/3@x/0#"])
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_raw_password_that_would_name_another_host_is_refused(scheme: str, password: str) -> None:
    """By one sentence that says how to write it, without the password."""
    with pytest.raises(ConfigError) as refused:
        connect(settings_of(f"{scheme}://:{password}@10.0.0.1:6379/0"))

    assert str(refused.value) == (
        "LLMEMB_REDIS_URL: not a Redis URL, such as redis://host:6379/0. In a user or password write / as %2F, "
        "# as %23, ? as %3F, @ as %40, % as %25 and [ as %5B, or put the password in LLMEMB_REDIS_PASSWORD_FILE"
    )
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://h/", "redis://u:p@h:1/2", "redis://:a@b@h:1", "redis://h?db=1", "unix:///run/redis.sock"],
)
def test_url_of_any_other_form_is_taken(url: str) -> None:
    """As redis-py takes it."""
    assert connect(settings_of(url)).connection_pool.max_connections > 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA and a certificate of the host localhost, made by openssl."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=own CA", "-days", "2")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost", encoding="ascii")
    openssl(
        "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
        "-extfile", "names", "-out", "server.pem",
    )  # fmt: skip
    return folder


@asynccontextmanager
async def tls_before(server: RedisServer, certificates: Path) -> AsyncIterator[int]:
    """Terminate TLS before a Redis, which is built without it; yields the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", server.port)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(pump(reader, redis_writer), pump(redis_reader, writer))

    listening = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def test_tls_with_an_own_ca_works_by_its_file(server: RedisServer, certificates: Path, tmp_path: Path) -> None:
    """With the CA's file everything works; without it, or by another host's name, the certificate is not trusted."""

    async def run() -> None:
        async with tls_before(server, certificates) as port:
            ca = {"redis_ca_file": certificates / "ca.pem"}
            await use_everything(settings_of(f"rediss://localhost:{port}/0", **ca), tmp_path)
            untrusted = await ping(settings_of(f"rediss://localhost:{port}/0"))
            assert re.fullmatch(r"Redis's certificate is not trusted: (unable to get|self).*certificate.*", untrusted)
            assert await ping(settings_of(f"rediss://127.0.0.1:{port}/0", **ca)) == (
                "Redis's certificate is not trusted: IP address mismatch"
            )

    asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "content", "message"),
    [
        ("redis://h", b"", r"is set, but LLMEMB_REDIS_URL does not begin with rediss://$"),
        ("rediss://h", None, r": \S+ cannot be used: No such file or directory$"),
        ("rediss://h", b"no certificate", r": \S+ cannot be used: it contains no certificate$"),
    ],
)
def test_ca_file_that_cannot_be_used_is_refused(url: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    """Before the service starts, by the variable's name."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=f"^LLMEMB_REDIS_CA_FILE ?{message}"):
        connect(settings_of(url, redis_ca_file=path))


def _rules_of_the_docs() -> list[str]:
    page = (Path(__file__).parents[4] / "docs" / "operations.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^ *ACL SETUSER llmemb (.*)$", page, re.MULTILINE)
    return command.replace(">PASSWORD", f">{PASSWORD}").split()


def test_user_with_the_permissions_of_the_docs_can_do_everything(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without CONFIG too, of which the log says what to set; no other keys can be read, and no password is logged."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "llmemb", *_rules_of_the_docs())  # type: ignore[no-untyped-call]
        client.set("other", 1)
    url = f"redis://llmemb:{ENCODED}@127.0.0.1:{server.port}/0"
    with caplog.at_level(logging.DEBUG, logger="llmemb_service"):
        asyncio.run(use_everything(settings_of(url), tmp_path))

    warned = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == []
    assert any("CONFIG GET" in message and "appendfsync is always" in message for message in caplog.messages)
    assert PASSWORD not in caplog.text
    assert ENCODED not in caplog.text

    async def read_other() -> str:
        async with connect(settings_of(url)) as redis:
            try:
                await redis.get("other")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is described
                return describe_error(error)
        return "ok"

    assert asyncio.run(read_other()) == "Redis refuses the command: the user has no permission for this command"


def _node(folder: Path) -> RedisServer:
    folder.mkdir()
    while True:
        node = RedisServer(options=["--cluster-enabled", "yes", "--dir", str(folder)])
        if node.port < 2**16 - 10_000:  # nodes talk to each other at the port 10,000 above
            return node


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two nodes; the second has all slots."""
    with _node(tmp_path / "1") as empty, _node(tmp_path / "2") as full:
        with empty.client() as first, full.client() as second:
            second.execute_command("CLUSTER ADDSLOTS", *range(16384))  # type: ignore[no-untyped-call]
            first.execute_command("CLUSTER MEET", "127.0.0.1", full.port)  # type: ignore[no-untyped-call]
            wait_until(
                lambda: first.execute_command("CLUSTER INFO")["cluster_state"] == "ok",  # type: ignore[no-untyped-call]
                "the nodes know each other",
            )
        yield empty, full


_IS_CLUSTER = "Redis refuses the command: it is part of a Redis Cluster, which is not supported"


def test_cluster_is_named(cluster: tuple[RedisServer, RedisServer], caplog: pytest.LogCaptureFixture) -> None:
    """MOVED of the catalogue and the sessions, and CROSSSLOT of the cache."""
    empty, full = cluster

    async def run() -> None:
        async with open_storage(settings_of(empty.url), 10) as storage:
            with pytest.raises(StorageError, match=f"^{_IS_CLUSTER}; nothing was done$"):
                await storage.items.attach(DictFollower())
            assert await storage.items.fault() == await storage.sessions.fault() == _IS_CLUSTER
        cache = open_cache(settings_of(full.url), Metrics())
        assert await cache.read(["one", "two"]) == [None, None]
        await cache.close()

    asyncio.run(run())

    assert f"{_IS_CLUSTER}; continuing without the cache" in caplog.messages


CATALOGUE = "{llmemb}:catalogue:"


async def fill(settings: Settings) -> None:
    """Add three items, of which one is removed again, and one has categories and is not available."""
    async with open_storage(settings, 10) as storage:
        await storage.items.attach(DictFollower())
        await storage.items.append([put("a", 1), put("b", 2, categories=("x",), available=False), put("c", 3)])
        await storage.items.append([RemoveItem("c")])


async def attached(settings: Settings) -> DictFollower:
    """A replica that starts now."""
    follower = DictFollower()
    async with open_storage(settings, 10) as storage:
        await storage.items.attach(follower)
    return follower


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("meta", "is missing"),
        ("order", "has 0 entries and not 3"),
        ("attributes", "has 0 entries and not 2"),
        ("categories", "has 0 entries and not 1"),
        ("available", "has 0 entries and not 1"),
        ("removed", "has 0 entries and not 1"),
    ],
)
@pytest.mark.parametrize("restored", [False, True], ids=["written", "restored"])
def test_catalogue_that_lacks_a_key_is_named_at_the_start(
    server: RedisServer, tmp_path: Path, key: str, fault: str, restored: bool
) -> None:
    """Reading, writing and a backup are refused until the backup is restored, or all keys are deleted."""
    setup = settings_of(server.url)
    asyncio.run(fill(setup))
    backup = asyncio.run(write_backup(setup, tmp_path / "whole.zip", Progress()))

    async def restore() -> None:
        await restore_backup(setup, backup.path, replace=True, progress=Progress())

    if restored:
        asyncio.run(restore())
    with server.client() as client:
        assert client.delete(f"{CATALOGUE}{key}") == 1
    message = re.escape(
        f"the catalogue in Redis is incomplete: {CATALOGUE}{key} {fault}; restore a backup by llmemb restore "
        f"--replace, or delete all of {CATALOGUE}* to give up the added items"
    )

    async def use() -> None:
        async with open_storage(setup, 10) as storage:
            with pytest.raises(StorageError, match=f"^{message}; nothing was done$"):
                await storage.items.attach(DictFollower())
            assert re.fullmatch(message, await storage.items.fault() or "")
            with pytest.raises(StorageError, match=message):
                await storage.items.append([put("d", 4)])
        with pytest.raises(StorageError, match=message):
            await write_backup(setup, tmp_path / "half.zip", Progress())

    asyncio.run(use())
    asyncio.run(restore())
    assert list(asyncio.run(attached(setup)).items) == ["a", "b", "c"]
    with server.client() as client:
        client.delete(f"{CATALOGUE}{key}", *client.keys(f"{CATALOGUE}*"))
    assert asyncio.run(attached(setup)).items == {}


def test_key_deleted_under_a_running_replica_refuses_the_next_change(server: RedisServer) -> None:
    """So that the sizes of what is left never count as whole."""

    async def run() -> None:
        async with open_storage(settings_of(server.url), 10) as storage:
            await storage.items.attach(DictFollower())
            await storage.items.append([put("a", 1)])
            with server.client() as client:
                client.delete(f"{CATALOGUE}attributes")
            with pytest.raises(StorageError, match=r"keys of its catalogue are missing; nothing was written$"):
                await storage.items.append([put("b", 2)])

    asyncio.run(run())


@pytest.mark.parametrize("key", ["log", "bundles", "vectors:b1"])
def test_key_that_can_be_made_again_may_be_deleted(server: RedisServer, key: str) -> None:
    """All items are there at the next start, and changes go on."""
    setup = settings_of(server.url)
    asyncio.run(fill(setup))
    with server.client() as client:
        assert client.delete(f"{CATALOGUE}{key}") == 1

    async def use() -> DictFollower:
        follower = DictFollower()
        async with open_storage(setup, 10) as storage:
            await storage.items.attach(follower)
            await storage.items.append([put("d", 4)])
        return follower

    items = asyncio.run(use()).items
    assert [(item_id, kept.attributes is not None) for item_id, kept in items.items()] == [
        ("a", True), ("b", True), ("c", False), ("d", True),
    ]  # fmt: skip


@pytest.mark.parametrize("sizes", [None, "3 9 9 9 9 9"], ids=["none", "before the last change"])
def test_catalogue_of_an_older_version_is_read(server: RedisServer, sizes: str | None) -> None:
    """It has stored no sizes, or, if both versions write, did not update them with the last change."""
    setup = settings_of(server.url)
    asyncio.run(fill(setup))
    with server.client() as client:
        client.hdel(f"{CATALOGUE}meta", "sizes")
        if sizes is not None:
            client.hset(f"{CATALOGUE}meta", "sizes", sizes)

    assert list(asyncio.run(attached(setup)).items) == ["a", "b", "c"]
    with server.client() as client:
        client.delete(f"{CATALOGUE}order")
    with pytest.raises(StorageError, match=rf"^the catalogue in Redis is incomplete: {CATALOGUE}order is missing; "):
        asyncio.run(attached(setup))
