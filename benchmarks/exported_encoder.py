"""The encoder's LLM as an ONNX graph, in ONNX Runtime and OpenVINO; runs in the environment of the candidates."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.results import WORK
from llmemb.encoder.encoder import Encoder
from llmemb.encoder.engines.padded import batches_by_tokens

Array = NDArray[np.float32]
Run = Callable[[NDArray[np.int64]], Array]
"""Token ids `(B, T)` -> last hidden states `(B, T, h)`."""
BATCH_TOKENS = 2048


class _Graph(torch.nn.Module):
    """What is exported. No mask: padding stands on the right, where no token of a causal LLM sees it."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden: Tensor = self.model(input_ids=input_ids, use_cache=False).last_hidden_state
        return hidden


def exported_encoders(encoder: Encoder, threads: int) -> dict[str, Callable[[Sequence[str]], Array]]:
    """Return what embeds prompts, by name: float32 in both, and int8 in ONNX Runtime."""
    import onnxruntime
    import openvino
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph, quantised = WORK / "embedding_candidates.onnx", WORK / "embedding_candidates-int8.onnx"
    dynamic = {0: torch.export.Dim("batch", min=2, max=4096), 1: torch.export.Dim("tokens", min=2, max=512)}
    # Exported and quantised anew each time: what lies there may be another bundle's.
    torch.onnx.export(
        _Graph(encoder.model).eval(),
        (torch.ones(3, 7, dtype=torch.int64),),
        graph,
        dynamo=True,
        dynamic_shapes=(dynamic,),
        input_names=["input_ids"],
        output_names=["hidden"],
    )
    # Without zero points of weights: FBGEMM's range, so that sums of products keep within 16 bits.
    quantize_dynamic(graph, quantised, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)

    def onnx(path: str) -> Run:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda ids: np.asarray(session.run(None, {"input_ids": ids})[0])

    def vino() -> Run:
        options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        model = openvino.Core().compile_model(str(graph), "CPU", options)
        return lambda ids: np.asarray(model({"input_ids": ids})[0])

    runs = {
        "ONNX Runtime": onnx(str(graph)),
        "ONNX Runtime, int8": onnx(str(quantised)),
        "OpenVINO": vino(),
    }
    return {name: _padded(encoder, run) for name, run in runs.items()}


def _padded(encoder: Encoder, run: Run) -> Callable[[Sequence[str]], Array]:
    def embed(prompts: Sequence[str]) -> Array:
        token_ids = encoder.tokenize(prompts)
        vectors = np.empty((len(prompts), encoder.width), np.float32)
        for batch in batches_by_tokens([len(ids) for ids in token_ids], BATCH_TOKENS):
            padded = np.zeros((len(batch), max(len(token_ids[i]) for i in batch)), np.int64)
            for row, i in enumerate(batch):
                padded[row, : len(token_ids[i])] = token_ids[i]
            for hidden, i in zip(run(padded), batch, strict=True):
                vectors[i] = hidden[: len(token_ids[i])].mean(axis=0)
        return vectors

    return embed
