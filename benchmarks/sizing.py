"""Resources of a service by catalogue size: memory, start time, and recommendations per core second.

    python -m benchmarks.sizing --bundle runs/demo/bundle [--items 10000 100000 1000000] [--seconds 10]

Recommendations are counted by the processor time that the service's process took, not by the clock: so the figure says
what a core does, also where others use the machine. Writes `results/sizing.json` and `results/sizing.md`.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from benchmarks.http_load import HISTORY_ITEMS, SEED, load, recommend_requests
from benchmarks.large_bundle import write_large_bundle
from benchmarks.processes import serving
from benchmarks.results import RESULTS, WORK, Results, make_results
from llmemb.bundle import read_bundle
from llmemb.files import write_text_atomically

CONNECTIONS = 16
MEGABYTE = 1e6
NOTES = (
    f"Histories of {HISTORY_ITEMS} items drawn by popularity, ten items asked for, over {CONNECTIONS} connections; one "
    "thread for each library, and the encoder idle.",
    "Larger catalogues are the bundle's own items, repeated with noise, under the index that bundling chooses.",
    "Memory: what the process holds alone and its part of what it shares; `at most` is its greatest since the start. "
    "The encoder is the LLM's processes together, of which none grows with the catalogue.",
    "Latencies are by the clock, on this machine as busy as it was: the load average stands beside them.",
)


class Size(BaseModel):
    """Measurements of one catalogue size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: int
    index: str
    bundle_megabytes: float
    start_seconds: float
    service_megabytes: float
    most_megabytes: float
    encoder_megabytes: float
    requests_per_core_second: float
    p50_ms: float
    p99_ms: float
    load_average: float


ONE_THREAD = {"LLMEMB_ENCODER_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""One thread in each library, so that the figures are per core."""


def main() -> None:
    """Measure each size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    own = read_bundle(options.bundle)
    folders = [own.folder] + [
        write_large_bundle(own, WORK / "serving" / f"bundle-{items}", items, SEED) for items in options.items
    ]
    sizes = [measure(folder, options.seconds) for folder in folders]
    manifest = own.manifest
    settings = {
        "dimension": str(own.item_vectors.shape[1]),
        "encoder": f"{manifest.encoder.base}, width {manifest.encoder.width}",
        "seconds": f"{options.seconds:g}",
        "seed": str(SEED),
    }
    about = make_results(
        "sizing", "The service by the size of its catalogue", (), settings=settings, peer_versions={}, notes=NOTES
    )
    content = about.model_dump(exclude={"rows"}) | {"sizes": [size.model_dump() for size in sizes]}
    write_text_atomically(RESULTS / "sizing.json", json.dumps(content, indent=2) + "\n")
    write_text_atomically(RESULTS / "sizing.md", render(about, sizes))


def measure(folder: Path, seconds: float) -> Size:
    """Serve a bundle, send requests for a given time, and measure the resources."""
    bundle = read_bundle(folder)
    began = time.perf_counter()
    with serving(folder, ONE_THREAD) as (url, pid):
        start = time.perf_counter() - began
        process = psutil.Process(pid)
        requests = recommend_requests(bundle)
        load(url, requests, clients=CONNECTIONS, seconds=2.0)  # warm-up
        before = processor_seconds(process)
        done = load(url, requests, clients=CONNECTIONS, seconds=seconds)
        taken = processor_seconds(process) - before
        return Size(
            items=len(bundle.items.ids),
            index=bundle.manifest.index.kind,
            bundle_megabytes=sum(file.bytes for file in bundle.manifest.files.values()) / MEGABYTE,
            start_seconds=start,
            service_megabytes=process.memory_full_info().pss / MEGABYTE,
            most_megabytes=most_megabytes(process),
            encoder_megabytes=sum(child.memory_full_info().pss for child in process.children(recursive=True))
            / MEGABYTE,
            requests_per_core_second=len(done.seconds) / taken,
            p50_ms=done.percentile_ms(50),
            p99_ms=done.percentile_ms(99),
            load_average=os.getloadavg()[0],
        )


def render(about: Results, sizes: Sequence[Size]) -> str:
    """Write the Markdown page."""
    lines = [
        f"# {about.title}",
        "",
        f"{about.measured} UTC, commit {about.commit}.",
        "",
        "| items | index | bundle, MB | start, s | service, MB | at most, MB | encoder, MB "
        "| requests for a core's second | p50, ms | p99, ms | load average |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {size.items:,} | {size.index} | {size.bundle_megabytes:,.0f} | {size.start_seconds:.0f} "
        f"| {size.service_megabytes:,.0f} | {size.most_megabytes:,.0f} | {size.encoder_megabytes:,.0f} "
        f"| {size.requests_per_core_second:,.0f} | {size.p50_ms:.0f} | {size.p99_ms:.0f} | {size.load_average:.1f} |"
        for size in sizes
    ]
    lines += ["", *(f"- {note}" for note in about.notes), ""]
    for title, facts in (("Machine", about.machine), ("Versions", about.versions), ("Settings", about.settings)):
        lines += [f"{title}: " + ", ".join(f"{name} {value}" for name, value in facts.items()) + ".", ""]
    return "\n".join(lines).rstrip() + "\n"


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor time of the process so far, in seconds."""
    times = process.cpu_times()
    return times.user + times.system


def most_megabytes(process: psutil.Process) -> float:
    """Return the peak resident memory."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / MEGABYTE


if __name__ == "__main__":
    main()
