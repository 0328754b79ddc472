"""`/recommend` under load: against a constant route, with a busy encoder, and with a million items.

    python -m benchmarks.serving --bundle runs/demo/bundle [--rounds 5] [--seconds 4] [--connections 32]

Writes `results/serving.json` and `results/serving.md`.
"""

import argparse
import asyncio
import os
from pathlib import Path

import uvloop

from benchmarks.http_load import HISTORY_ITEMS, SEED, Load, load, load_async, load_row, recommend_requests
from benchmarks.large_bundle import write_large_bundle
from benchmarks.processes import constant_route, serving
from benchmarks.results import WORK, Row, make_results, write_results
from llmemb.api.items import ItemBody
from llmemb.bundle import Bundle, read_bundle
from llmemb.client import calls
from tests.load.http_load import AnyCall

ITEMS_OF_A_FLOOD = 32
FLOOD_CONNECTIONS = 4
MILLION = 1_000_000
NOTES = (
    "One worker each, HTTP/1.1 over connections kept open, a closed loop; the client runs on the same cores, and ours "
    "and the constant route take turns, round by round.",
    "The constant route validates the same body by the same pydantic model and returns ten items.",
    f"Histories: {HISTORY_ITEMS} items each, drawn by popularity; ten items asked for.",
    f"Busy encoder: {FLOOD_CONNECTIONS} connections send `/embed_items` of {ITEMS_OF_A_FLOOD} new texts all the while.",
    "A million items: the bundle's own, repeated with noise, and the index that bundling chooses for so many.",
)


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--items", type=int, default=MILLION, help="size of the large catalogue; 0: skip it")
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    rows = [*_beside_constant(bundle, options), *_busy_encoder(bundle, options)]
    if options.items:
        rows += _large_catalogue(bundle, options)
    results = make_results(
        "serving",
        "`/recommend` under load",
        rows,
        settings={name: str(value) for name, value in vars(options).items() if name != "bundle"}
        | {"bundle items": str(len(bundle.items.ids)), "seed": str(SEED)},
        peer_versions={},
        notes=NOTES,
    )
    write_results(results)


def _beside_constant(bundle: Bundle, options: argparse.Namespace) -> list[Row]:
    ours: list[Load] = []
    peer: list[Load] = []
    with serving(bundle.folder) as (url, _), constant_route() as constant:
        for _ in range(options.rounds):
            ours.append(_load(url, bundle, options))
            peer.append(_load(constant, bundle, options))
    return [
        load_row("recommend; constant route", "requests/s", ours, peer, "rate", (">=", 0.5)),
        load_row("recommend; constant route, p50", "ms", ours, peer, "p50"),
        load_row("recommend; constant route, p99", "ms", ours, peer, "p99"),
    ]


def _busy_encoder(bundle: Bundle, options: argparse.Namespace) -> list[Row]:
    busy: list[Load] = []
    idle: list[Load] = []
    # Few connections, to measure the latency of the service and not of a queue in the client.
    few = argparse.Namespace(**vars(options) | {"connections": 2})
    with serving(bundle.folder) as (url, _):
        for _ in range(options.rounds):
            idle.append(_load(url, bundle, few))
            busy.append(uvloop.run(_load_beside_flood(url, bundle, few)))
    return [
        load_row("recommend, encoder busy; idle, p99", "ms", busy, idle, "p99", ("<=", 3.0)),
        load_row("recommend, encoder busy; idle, p50", "ms", busy, idle, "p50"),
    ]


def _large_catalogue(bundle: Bundle, options: argparse.Namespace) -> list[Row]:
    folder = write_large_bundle(bundle, WORK / "serving" / f"bundle-{options.items}", options.items, SEED)
    many = read_bundle(folder)
    large: list[Load] = []
    small: list[Load] = []
    with serving(folder) as (url, _), serving(bundle.folder) as (own, _):
        for _ in range(options.rounds):
            large.append(_load(url, many, options))
            small.append(_load(own, bundle, options))
    name = f"recommend of {options.items:,} items; of {len(bundle.items.ids):,}"
    return [
        load_row(name, "requests/s", large, small, "rate"),
        load_row(f"{name}, p50", "ms", large, small, "p50"),
        load_row(f"{name}, p99", "ms", large, small, "p99"),
    ]


def _load(url: str, bundle: Bundle, options: argparse.Namespace) -> Load:
    return load(url, recommend_requests(bundle), clients=options.connections, seconds=options.seconds)


async def _load_beside_flood(url: str, bundle: Bundle, options: argparse.Namespace) -> Load:
    flood = asyncio.create_task(
        load_async(url, _flood_requests(bundle), clients=FLOOD_CONNECTIONS, seconds=options.seconds + 1)
    )
    await asyncio.sleep(0.5)
    measured = await load_async(url, recommend_requests(bundle), clients=options.connections, seconds=options.seconds)
    await flood
    return measured


def _flood_requests(bundle: Bundle) -> list[AnyCall]:
    """Generate texts that are in no cache: each one is unique, also between runs."""
    name = bundle.manifest.prompt.attribute_names[0]
    mark = os.urandom(4).hex()
    return [
        calls.embed_items(
            [
                ItemBody(id=f"{i}", attributes={name: f"Flood {mark} {batch} {i}, a long title of many words"})
                for i in range(ITEMS_OF_A_FLOOD)
            ]
        )
        for batch in range(2000)
    ]


if __name__ == "__main__":
    main()
