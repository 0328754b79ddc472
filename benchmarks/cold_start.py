"""Cold start: time from the start of `llmemb serve` to its first recommendation, compared with importing torch.

    python -m benchmarks.cold_start --bundle runs/demo/bundle [--rounds 5]

Writes `results/cold_start.json` and `results/cold_start.md`.
"""

import argparse
import http.client
import json
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.processes import starting
from benchmarks.results import compare, make_results, write_results
from llmemb.bundle import read_bundle

IMPORTS = "import torch, transformers"
NOTES = (
    "Ours: from the start of the process, through reading and checking the bundle, to the answer of the first "
    "`/recommend`. The encoder's process loads the LLM meanwhile.",
    f"Peer: `python -c '{IMPORTS}'`. They take turns; the files are in the page cache.",
)


def main() -> None:
    """Measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    body = json.dumps({"history": list(bundle.items.ids[:3]), "k": 3})
    _imports()
    ours, peer = [], []
    for _ in range(options.rounds):
        ours.append(_first_recommendation(options.bundle, body))
        peer.append(_imports())
    row = compare("start to the first recommendation; importing torch and transformers", "s", ours, peer, ("<=", 1.5))
    results = make_results(
        "cold_start",
        "Cold start",
        [row],
        settings={"rounds": str(options.rounds), "bundle items": str(len(bundle.items.ids))},
        peer_versions={},
        notes=NOTES,
    )
    write_results(results)


def _first_recommendation(bundle: Path, body: str) -> float:
    started = time.perf_counter()
    with starting(bundle) as (url, _):
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
        status = connection.getresponse().status
        spent = time.perf_counter() - started
        connection.close()
    if status != 200:
        raise RuntimeError(f"the first recommendation was answered {status}")
    return spent


def _imports() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
