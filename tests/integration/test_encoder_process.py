"""The LLM in a process of its own: right, bounded, told of, and back after whatever ends it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from llmemb.bundle import read_bundle
from llmemb.errors import EncoderError
from llmemb.scoring.item_space import join
from llmemb_service.encoding.cache import MemoryCache
from llmemb_service.encoding.embedder import ItemEmbedder
from llmemb_service.encoding.encoder_process import EncoderProcess, processor_seconds
from llmemb_service.encoding.prompt_encoder import RawEmbedding
from llmemb_service.errors import DeadlineError, EncoderUnavailableError, OverloadedError
from llmemb_service.observability.logs import collecting_parts
from llmemb_service.observability.metrics import Metrics
from tests.support.encoder import EncoderFamily, RunningEncoder, encoder_family, make_encoder_process, running_encoder
from tests.support.tiny import tiny_prompts
from tests.support.waiting import DEADLINE_SECONDS, wait_until


@pytest.fixture(scope="module")
def running(tiny_bundle: Path) -> Iterator[RunningEncoder]:
    with running_encoder(tiny_bundle) as running:
        yield running


def make_embedder(bundle: Path, running: RunningEncoder, timeout_seconds: float = DEADLINE_SECONDS) -> ItemEmbedder:
    return ItemEmbedder(
        bundle=read_bundle(bundle),
        cache=MemoryCache(100),
        encoder=running.process,
        timeout_seconds=timeout_seconds,
        metrics=running.metrics,
    )


async def serving_again(process: EncoderProcess) -> RawEmbedding:
    """Ask until it answers."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return (await process.encode(["again"]))[0]
        except EncoderUnavailableError:
            assert time.monotonic() < deadline, "the encoder does not come back"
            await asyncio.sleep(0.01)


def pid_of(process: EncoderProcess) -> int:
    assert process.pid is not None
    return process.pid


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_encoder_process_gives_what_the_encoder_gives(running: RunningEncoder, tiny_bundle: Path) -> None:
    """Concurrent callers each get their own vectors and tokens, in order; time and work are reported."""
    encoder = read_bundle(tiny_bundle).load_encoder()
    prompts = tiny_prompts()
    expected, tokens = encoder.encode(prompts), [len(ids) for ids in encoder.tokenize(prompts)]

    async def check() -> tuple[list[list[RawEmbedding]], dict[str, float]]:
        with collecting_parts() as parts:
            callers = [running.process.encode(prompts[i : i + 5]) for i in range(0, len(prompts), 5)]
            return await asyncio.gather(*callers), parts

    answers, parts = running.loop.run(check())
    found = [embedding for answer in answers for embedding in answer]

    np.testing.assert_allclose(np.stack([embedding.vector for embedding in found]), expected, rtol=0, atol=1e-4)
    assert [embedding.tokens for embedding in found] == tokens
    assert {embedding.vector.dtype for embedding in found} == {np.dtype(np.float32)}
    assert set(parts) == {"queue", "tokenise", "encode"}
    assert b"llmemb_queued_items 0.0" in running.metrics.exposition()
    assert f"llmemb_batch_items_sum {len(prompts)}.0".encode() in running.metrics.exposition()


@pytest.mark.parametrize("kind", ["tiny_bundle", "full_bundle"])
def test_an_item_of_the_catalogue_gets_its_stored_semantic_vector(
    running: RunningEncoder, kind: str, request: pytest.FixtureRequest
) -> None:
    """The service and the trainer embed alike: cosine of at least .9999, with and without a semantic term."""
    folder: Path = request.getfixturevalue(kind)
    bundle = read_bundle(folder)
    embedder = make_embedder(folder, running)
    stored = join(bundle.semantic, bundle.profile)

    found = running.loop.run(embedder.embed([bundle.items.attributes(row) for row in range(len(stored))]))
    again = running.loop.run(embedder.embed([bundle.items.attributes(0)]))
    vectors = np.stack([each.vector for each in found])
    cosines = (vectors * stored).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(stored, axis=1)

    assert cosines.min() >= 0.9999
    assert not any(each.cached for each in found)
    assert again[0].cached
    np.testing.assert_array_equal(again[0].vector, vectors[0])


def test_texts_are_embedded_as_they_are_and_each_once(running: RunningEncoder, tiny_bundle: Path) -> None:
    """No prompt is made of a text; one that comes twice is computed once."""
    embedder = make_embedder(tiny_bundle, running)
    expected = read_bundle(tiny_bundle).load_encoder().encode(["a film"])[0]

    first, second, other = running.loop.run(embedder.embed_texts(["a film", "a film", "another"]))

    np.testing.assert_allclose(first.raw, expected, rtol=0, atol=1e-4)
    assert first.raw is second.raw
    assert first.tokens == second.tokens
    assert not np.allclose(first.raw, other.raw)


def test_encoder_process_is_bounded_and_a_caller_who_leaves_frees_his_places(running: RunningEncoder) -> None:
    """A call finds room for all its prompts or for none; the worker's own state does not matter for that."""
    process = running.process

    async def check() -> list[RawEmbedding]:
        os.kill(pid_of(process), signal.SIGSTOP)  # nothing is finished meanwhile
        try:
            staying = asyncio.create_task(process.encode([f"{i} stays" * 100 for i in range(4)]))  # long enough
            leaving = asyncio.create_task(process.encode([f"leaves {i}" for i in range(60)]))
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError) as refused:
                await process.encode(["one more"])
            assert 1 <= refused.value.retry_after_seconds <= 60
            leaving.cancel()
            await asyncio.wait([leaving])
            next_one = asyncio.create_task(process.encode(["comes in"] * 60))
            await asyncio.sleep(0)
        finally:
            os.kill(pid_of(process), signal.SIGCONT)
        await staying
        return await next_one

    before = batched_items(running.metrics)
    assert len(running.loop.run(check())) == 60
    # The prompts of the caller who left were dropped in the process.
    assert batched_items(running.metrics) - before == 64


def test_who_would_wait_too_long_is_refused_at_once(tiny_bundle: Path) -> None:
    """By the work of those before; a smaller job goes before them, and is taken."""
    with running_encoder(tiny_bundle, timeout_seconds=0.2) as running:
        process = running.process

        async def check() -> None:
            os.kill(pid_of(process), signal.SIGSTOP)
            try:
                waiting = asyncio.create_task(process.encode(["long"] * 40))
                await asyncio.sleep(0)
                with pytest.raises(OverloadedError) as refused:
                    await process.encode(["as long"] * 40)
                assert refused.value.retry_after_seconds >= 1
                small = asyncio.create_task(process.encode(["short"]))
                await asyncio.sleep(0)
                assert not small.done()
            finally:
                os.kill(pid_of(process), signal.SIGCONT)
            await asyncio.wait([waiting, small])

        running.loop.run(check())


def batched_items(metrics: Metrics) -> float:
    lines = metrics.exposition().decode().splitlines()
    return float(next(line for line in lines if line.startswith("llmemb_batch_items_sum")).split()[1])


def test_a_caller_who_waits_too_long_is_told(running: RunningEncoder, tiny_bundle: Path) -> None:
    """The deadline is the caller's; the encoder goes on."""
    embedder = make_embedder(tiny_bundle, running, timeout_seconds=0.05)

    async def check() -> None:
        os.kill(pid_of(running.process), signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineError):
                await embedder.embed_texts(["too slow"])
        finally:
            os.kill(pid_of(running.process), signal.SIGCONT)
        assert await running.process.fault() is None

    running.loop.run(check())


def test_a_killed_encoder_tells_its_callers_and_comes_back(running: RunningEncoder) -> None:
    """Waiting and new callers fail immediately; then the process recovers. Run twice, since once may be chance."""
    process = running.process

    async def check() -> None:
        for _ in range(2):
            before = pid_of(process)
            os.kill(before, signal.SIGSTOP)
            waiting = [asyncio.create_task(process.encode([f"waits {i}"])) for i in range(3)]
            await asyncio.sleep(0)
            os.kill(before, signal.SIGKILL)
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(result) for result in results] == [EncoderUnavailableError] * 3
            with pytest.raises(EncoderUnavailableError) as refused:
                await process.encode(["comes meanwhile"])
            assert refused.value.retry_after_seconds >= 1
            assert await process.fault() == "restarting"

            assert len((await serving_again(process)).vector) == 32
            assert pid_of(process) != before
            assert await process.fault() is None

    running.loop.run(check())
    assert b"llmemb_encoder_restarts_total 2.0" in running.metrics.exposition()
    assert b"llmemb_queued_items 0.0" in running.metrics.exposition()


async def family_of(process: EncoderProcess) -> EncoderFamily:
    host = psutil.Process(parent_of(pid_of(process)))
    return await asyncio.to_thread(encoder_family, lambda: [host])


def test_the_encoder_outlives_the_process_that_started_it(running: RunningEncoder) -> None:
    """When the fork server dies, requests do not fail; its standby forks the next worker."""
    process = running.process

    async def check() -> None:
        family = await family_of(process)
        family.host.kill()
        await asyncio.to_thread(wait_until, lambda: is_gone(family.host.pid), "the host ends")
        assert len(await process.encode(["still here"])) == 1
        assert pid_of(process) == family.worker.pid
        family.worker.kill()
        await serving_again(process)
        assert parent_of(pid_of(process)) == family.standby.pid

    running.loop.run(check())


def test_the_standby_takes_over_when_worker_and_fork_server_die_together(running: RunningEncoder) -> None:
    """Repeatedly, and also after a standby died alone; the libraries are imported again only if all died."""
    process = running.process

    async def check() -> None:
        first = await family_of(process)
        first.standby.kill()
        await asyncio.to_thread(wait_until, lambda: is_gone(first.standby.pid), "the standby ends")
        group = os.getpgid(first.host.pid)
        for _ in range(2):
            family = await family_of(process)
            family.host.kill()
            family.worker.kill()
            await serving_again(process)
            assert parent_of(pid_of(process)) == family.standby.pid
            assert os.getpgid(pid_of(process)) == group

        family = await family_of(process)
        for each in (family.standby, family.host, family.worker):
            each.kill()
        await serving_again(process)
        assert os.getpgid(pid_of(process)) != group

    running.loop.run(check())


def test_a_hung_encoder_is_killed_and_replaced(tiny_bundle: Path) -> None:
    """One that has work and says nothing ends like a dead one; one without work is left alone. Closing ends all."""
    with running_encoder(tiny_bundle, timeout_seconds=0.5) as running:
        process = running.process

        async def check() -> None:
            hung = pid_of(process)
            os.kill(hung, signal.SIGSTOP)
            with pytest.raises(EncoderUnavailableError):
                await process.encode(["waits in vain"])
            assert len((await serving_again(process)).vector) == 32
            assert is_gone(hung)

        running.loop.run(check())
        last = running.loop.run(family_of(process))

    # The sockets of a process that is killed close before it has ended.
    wait_until(lambda: all(is_gone(each.pid) for each in (last.worker, last.host, last.standby)), "all have ended")


def test_an_encoder_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    """The start says what is wrong, and tries no second time."""
    process = make_encoder_process(tmp_path)

    async def check() -> None:
        with pytest.raises(EncoderError, match="is no encoder folder"):
            await process.start()

    asyncio.run(check())


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="the system has no idle class")
@pytest.mark.parametrize("nice", [None, 7])
def test_what_computes_runs_in_the_idle_class_unless_a_nice_level_is_set(tiny_bundle: Path, nice: int | None) -> None:
    """All threads but the one that waits for the service; in the service's session, within which priorities count."""
    process = make_encoder_process(tiny_bundle, nice=nice)
    own = os.getpriority(os.PRIO_PROCESS, 0)

    async def check() -> Counter[tuple[int, int]]:
        await process.start()
        try:
            await process.encode(tiny_prompts()[:8])
            pid = pid_of(process)
            # Not of its process group: a Ctrl-C at the terminal is for the service alone.
            assert (os.getsid(pid), os.getpgid(pid) == os.getpgid(0)) == (os.getsid(0), False)
            return Counter(
                (os.sched_getscheduler(each.id), os.getpriority(os.PRIO_PROCESS, each.id))
                for each in psutil.Process(pid).threads()
            )
        finally:
            await process.close()

    threads = asyncio.run(check())

    assert threads.pop((os.SCHED_OTHER, own)) == 1
    assert list(threads) == [(os.SCHED_IDLE, own) if nice is None else (os.SCHED_OTHER, own + nice)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_processs_processor_time_is_told() -> None:
    """What tells a worker that gets no core from one that hangs; a process that is gone has used none."""
    before = time.process_time()
    found = processor_seconds(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass

    assert before - 0.1 <= found <= time.process_time() + 0.1
    assert processor_seconds(gone.pid) == 0.0


_PARENT = """
import asyncio, sys
from pathlib import Path
from tests.support.encoder import make_encoder_process

async def main():
    process = make_encoder_process(Path(sys.argv[1]))
    await process.start()
    print(process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_the_encoder_ends_with_the_service(tiny_bundle: Path) -> None:
    """A service that is killed leaves no process behind."""
    command = [sys.executable, "-c", _PARENT, str(tiny_bundle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        host = parent_of(worker)
        parent.kill()

    wait_until(lambda: is_gone(worker), "the worker ends")
    wait_until(lambda: is_gone(host), "its host ends")
