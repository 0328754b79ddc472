"""`/v1/embeddings` over HTTP against Infinity, with one client and with 16: the same encoder, in alternation.

    python -m benchmarks.embedding_http --bundle runs/demo/bundle [--rounds 5] [--seconds 4]

Writes `results/embedding_http.json` and `results/embedding_http.md`.
"""

import argparse
import base64
import json
import os
import random
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.http_load import Load, load, load_row
from benchmarks.infinity_folder import folder_for_infinity
from benchmarks.peer_environment import INFINITY, infinity_python
from benchmarks.processes import READY_SECONDS, serving, wait_for_answer
from benchmarks.results import WORK, make_results, write_results
from benchmarks.worker import worker_environment
from llmemb.bundle import Bundle, read_bundle
from llmemb.bundle.bundle import ENCODER_FOLDER
from llmemb.client.calls import Call
from llmemb.encoder.engines.admission import agreement
from tests.load.http_load import AnyCall
from tests.support.ports import free_port

CLIENTS = 16
NOTES = (
    "One text a request, HTTP/1.1 over connections kept open, a closed loop; the client runs on the same cores. Each "
    "text is sent once, so no cache answers. Texts are prompts of the bundle's items with their attributes mixed.",
    "Ours: the service with its defaults but LLMEMB_ENCODER_NICE=0, so that its encoder does not step back behind what "
    "else runs. Infinity: torch engine, float32, its own batching; its lengths are not limited to the encoder's, which "
    "no prompt reaches. Infinity scales vectors to unit length.",
    "Infinity reads a copy of the encoder folder in which two keys have the names that its transformers 4 knows.",
)


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="duration of each side per round")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    loads: dict[tuple[str, int], list[Load]] = {}
    own = {"LLMEMB_ENCODER_NICE": "0", "LLMEMB_ENCODER_THREADS": str(options.threads)}
    with serving(bundle.folder, own) as (ours, _), _infinity(bundle, options.threads) as infinity:
        sides = {"ours": f"{ours}/v1/embeddings", "infinity": f"{infinity}/embeddings"}
        same = agreement(*(_vectors(url, _texts(bundle, 64, "same")) for url in sides.values()))
        for number in range(options.rounds):
            for clients in (1, CLIENTS):
                for side in sorted(sides, reverse=number % 2 == 1):
                    requests = _requests(sides[side], bundle, f"{side} {number} {clients}")
                    taken = load(sides[side], requests, clients=clients, seconds=options.seconds)
                    loads.setdefault((side, clients), []).append(taken)
                    print(f"round {number + 1}: {side}, {clients}: {taken.percentile_ms(50):.1f} ms", flush=True)
    one, many = ((loads["ours", clients], loads["infinity", clients]) for clients in (1, CLIENTS))
    rows = [
        load_row("one item, idle, p50; Infinity", "ms", *one, "p50", ("<=", 0.7)),
        load_row("one item, idle, p99; Infinity", "ms", *one, "p99"),
        load_row(f"{CLIENTS} clients; Infinity", "items/s", *many, "rate", (">=", 1.5)),
        load_row(f"{CLIENTS} clients, p50; Infinity", "ms", *many, "p50"),
    ]
    results = make_results(
        "embedding_http",
        "Embedding over HTTP beside Infinity",
        rows,
        settings={name: str(getattr(options, name)) for name in ("rounds", "seconds", "threads")},
        peer_versions={"infinity-emb": INFINITY, "transformers": _peer_version("transformers")},
        notes=(*NOTES, f"Our vectors beside Infinity's: {same.describe()}."),
    )
    write_results(results)


def _texts(bundle: Bundle, number: int, mark: str) -> list[str]:
    """Generate prompts that are in no cache: each item's first attribute with the other attributes of other items."""
    drawn = random.Random(f"{mark} {os.urandom(8).hex()}" if mark != "same" else mark)
    rows = range(len(bundle.items.ids))
    texts = []
    for _ in range(number):
        one, other = (bundle.items.attributes(row) for row in drawn.sample(rows, 2))
        first = bundle.prompt.attribute_names[0]
        texts.append(bundle.prompt.render(other | {first: f"{one.get(first, '')} {drawn.randrange(1000)}"}))
    return texts


def _requests(url: str, bundle: Bundle, mark: str) -> list[AnyCall]:
    bodies = ({"model": "llmemb-raw", "input": text} for text in _texts(bundle, 2000, mark))
    # Not `calls.embeddings`, which requests base64: both sides must get the same request.
    return [Call(method="POST", path=urlsplit(url).path, body=json.dumps(body).encode(), read=bytes) for body in bodies]


def _vectors(url: str, texts: Sequence[str]) -> np.ndarray:
    body = json.dumps({"model": "llmemb-raw", "input": list(texts), "encoding_format": "base64"}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=READY_SECONDS) as response:
        data = json.load(response)["data"]
    rows = [np.frombuffer(base64.b64decode(entry["embedding"]), "<f4") for entry in data]
    return np.stack(rows)


@contextmanager
def _infinity(bundle: Bundle, threads: int) -> Iterator[str]:
    python = infinity_python()
    folder = folder_for_infinity(bundle.folder / ENCODER_FOLDER, WORK / "embedding_http" / "encoder")
    port = free_port()
    command = [str(python.parent / "infinity_emb"), "v2", "--model-id", str(folder), "--served-model-name"]
    command += ["llmemb-raw", "--engine", "torch", "--device", "cpu", "--dtype", "float32", "--no-bettertransformer"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    offline = dict(worker_environment(threads)) | {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    log = WORK / "embedding_http" / "infinity.log"
    with log.open("wb") as output, subprocess.Popen(command, env=offline, stdout=output, stderr=output) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_answer(f"{url}/health")
            yield url
        finally:
            process.terminate()


def _peer_version(package: str) -> str:
    command = [str(infinity_python()), "-c", f"from importlib.metadata import version; print(version({package!r}))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
