"""The parts of a request's time belong to that request."""

import asyncio

from llmemb_service.observability.logs import collecting_parts, record_part, server_timing_header


def test_parts_add_up_and_are_in_milliseconds() -> None:
    """In the order in which they came."""
    with collecting_parts() as parts:
        record_part("queue", 0.001)
        record_part("rank", 0.0005)
        record_part("queue", 0.002)

    assert server_timing_header(parts) == "queue;dur=3.00, rank;dur=0.50"


def test_requests_at_the_same_time_do_not_mix() -> None:
    """Tasks of one request share its parts; nothing is recorded outside of one."""

    async def request(part: str) -> dict[str, float]:
        with collecting_parts() as parts:
            await asyncio.sleep(0)
            await asyncio.create_task(record(part))
            return parts

    async def record(part: str) -> None:
        record_part(part, 1.0)

    async def both() -> list[dict[str, float]]:
        return await asyncio.gather(request("encode"), request("rank"))

    record_part("queue", 1.0)
    assert asyncio.run(both()) == [{"encode": 1.0}, {"rank": 1.0}]
