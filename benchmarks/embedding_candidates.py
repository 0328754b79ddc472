"""What was tried to embed faster, each alone, beside transformers: speed and how near the vectors are.

    python -m benchmarks.embedding_candidates --bundle runs/demo/bundle [--items 64] [--rounds 3]

Writes `results/embedding_candidates.json` and `results/embedding_candidates.md`.
"""

import argparse
import functools
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.embedding_texts import read_prompts, source_folder
from benchmarks.exported_encoder import exported_encoders
from benchmarks.peer_environment import CANDIDATES, candidates_python
from benchmarks.results import compare, make_results, write_results
from llmemb.bundle.bundle import ENCODER_FOLDER
from llmemb.encoder.encoder import Encoder
from llmemb.encoder.engines import llama_weights
from llmemb.encoder.engines.admission import LEAST_COSINE, LEAST_OVERLAP, agreement
from llmemb.encoder.engines.engine import EngineName

Array = NDArray[np.float32]
BASE = "transformers"
CALIBRATION_ROWS = 256
"""Tokens that must come together before int8 is calibrated by them."""
NOTES = (
    "Prompts of MovieLens, the bundle's encoder, the same threads; items a second of the processor, from texts to "
    "vectors, round by round in alternation: by the clock, what else runs on the machine would count.",
    "MKL: the packed engine with plain weights in place of oneDNN's layout. int8: weights per output channel, FBGEMM; "
    "activations quantised as they come, by tensor, or by row, each row scaled to the same greatest value.",
    "Smoothed: by row through oneDNN, bfloat16 out, after the channels are scaled so that inputs and weights share "
    "what stands out (SmoothQuant), by the first large batch: all matrices, or gate and up, the others in bfloat16.",
    "The aim of quantisation, 2.5 times sentence-transformers, counts only where the vectors are admitted: a cosine of "
    f"{LEAST_COSINE} at least, and {LEAST_OVERLAP:.0%} of the ten nearest.",
    "ONNX Runtime and OpenVINO run transformers' graph over padded batches, the longest first.",
)


def main() -> None:
    """Measure all of it."""
    if importlib.util.find_spec("openvino") is None:
        python = str(candidates_python())
        os.execv(python, [python, "-m", "benchmarks.embedding_candidates", *sys.argv[1:]])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--leave-out", action="append", default=[], help="a candidate, by its name in the results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    beginning, prompts = read_prompts("MovieLens", options.items, source_folder("MovieLens", None))
    candidates = _candidates(options.bundle / ENCODER_FOLDER, beginning, options.threads)
    for name in options.leave_out:
        del candidates[name]
    exact = candidates[BASE](prompts)
    notes = list(NOTES)
    for name, embed in candidates.items():
        notes.append(f"{name}: {agreement(embed(prompts), exact).describe()}.")
        print(notes[-1], flush=True)
    speeds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(options.rounds):
        for name, embed in candidates.items():
            start = time.process_time()
            embed(prompts)
            speeds[name].append(len(prompts) / (time.process_time() - start))
    rows = [compare(f"{name}; {BASE}", "items/s", speeds[name], speeds[BASE]) for name in candidates if name != BASE]
    print({name: round(statistics.median(each), 1) for name, each in speeds.items()}, flush=True)
    results = make_results(
        "embedding_candidates",
        "What was tried to embed faster",
        rows,
        settings={name: str(getattr(options, name)) for name in ("items", "rounds", "threads")},
        peer_versions=dict(need.split("==") for need in CANDIDATES),
        notes=notes,
    )
    write_results(results)


def _candidates(folder: Path, beginning: str, threads: int) -> dict[str, Callable[[list[str]], Array]]:
    """Return what embeds prompts, by name."""

    def packed(matrix: Callable[[Tensor], llama_weights.Matrix], begins: str, engine: EngineName = "packed") -> Encoder:
        kept, llama_weights._matrix = llama_weights._matrix, matrix
        encoder = Encoder.load(folder, engine=engine)
        encoder.expect(begins)
        llama_weights._matrix = kept
        return encoder

    usual = llama_weights._matrix

    def gate_and_up(weight: Tensor) -> llama_weights.Matrix:
        return _SmoothInt8Matrix(weight) if len(weight) > 2 * weight.shape[1] else usual(weight)

    reference = Encoder.load(folder, engine="transformers")
    best = packed(usual, beginning)
    compiled = Encoder.load(folder, engine="transformers")
    compiled.model.forward = torch.compile(compiled.model.forward, dynamic=True)
    return {
        BASE: reference.encode,
        "torch.compile": compiled.encode,
        **exported_encoders(reference, threads),
        "packed": best.encode,
        "packed, batches of 512": lambda prompts: best.encode(prompts, 512),
        "packed, the tree alone": packed(usual, "").encode,
        "packed, MKL": packed(llama_weights._DenseMatrix, beginning).encode,
        "packed-bfloat16": packed(usual, beginning, "packed-bfloat16").encode,
        "packed-bfloat16, gate and up int8 smoothed": packed(gate_and_up, beginning, "packed-bfloat16").encode,
        "packed-bfloat16, int8 smoothed": packed(_SmoothInt8Matrix, beginning, "packed-bfloat16").encode,
        "packed, int8 by tensor": packed(_Int8Matrix, beginning).encode,
        "packed, int8 by row": packed(_RowInt8Matrix, beginning).encode,
    }


class _Int8Matrix:
    def __init__(self, weight: Tensor) -> None:
        torch.backends.quantized.engine = "fbgemm"
        scales = weight.abs().amax(dim=1).double() / 127
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        quantised = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self._weight = torch.ops.quantized.linear_prepack(quantised, None)

    def __call__(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.quantized.linear_dynamic(x.contiguous(), self._weight, reduce_range=True)
        return product


class _RowInt8Matrix(_Int8Matrix):
    def __call__(self, x: Tensor) -> Tensor:
        greatest = x.abs().amax(dim=1, keepdim=True).clamp_min_(1e-9)
        return super().__call__(x / greatest) * greatest


class _SmoothInt8Matrix:
    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.float()
        self._usual = functools.partial(functional.linear, weight=weight)
        self._calibrated = False

    def __call__(self, x: Tensor) -> Tensor:
        if not self._calibrated:
            if len(x) < CALIBRATION_ROWS:
                return self._usual(x)
            self._calibrate(x.float())
        x = x.float() * self._scale
        greatest = torch.linalg.vector_norm(x, float("inf"), dim=1, keepdim=True).clamp_min_(1e-9).div_(127)
        rows = (x * greatest.reciprocal()).add_(128.5).to(torch.uint8)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, 128, self._packed, self._scales, self._zeros, None, 1.0, 0, torch.bfloat16, "none", [], ""
        )
        return product.mul_(greatest.bfloat16())

    def _calibrate(self, x: Tensor) -> None:
        """Choose the channels' scale by the inputs `(U, in)`, half way between theirs and the weights'."""
        self._scale = (self._weight.abs().amax(dim=0) / x.abs().amax(dim=0).clamp_min_(1e-5)).sqrt()
        weight = self._weight / self._scale
        self._scales = weight.abs().amax(dim=1) / 127
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        rounded = (weight / self._scales[:, None]).round().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, [len(x), x.shape[1]])
        self._calibrated = True


if __name__ == "__main__":
    main()
