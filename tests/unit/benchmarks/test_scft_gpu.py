"""`benchmarks.scft_gpu`: the bounded run in small, on the CPU, and what it keeps."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from benchmarks import scft_gpu
from llmemb.encoder.encoder import Encoder, load_llm
from llmemb_training.embedding.raw_embeddings import read_raw_embeddings
from tests.support.catalogue import write_catalogue, write_config


def test_all_layers_and_large_batches_unless_told_otherwise(tiny_llm: Path, tmp_path: Path) -> None:
    """A depth in the configuration counts nothing, one on the command line does."""
    config = write_config(tmp_path / "tiny.toml", source=tmp_path, base=tiny_llm)
    whole = scft_gpu.configure(config, 8.0, [])
    cut = scft_gpu.configure(config, 8.0, ["encoder.depth=1", "scft.batch_histories=64"])

    assert (whole.encoder.depth, cut.encoder.depth) == (None, 1)
    assert (whole.scft.batch_histories, cut.scft.batch_histories) == (512, 64)
    assert whole.scft.max_minutes == 8.0
    assert whole.scft.positives == "next"


def test_run_in_small(
    tiny_llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Vectors at half precision, LoRA weights and a summary; the time bound ends the training."""
    source = write_catalogue(tmp_path / "source")
    config = write_config(tmp_path / "tiny.toml", source=source, base=tiny_llm)
    out = tmp_path / "out"
    changes = ["--set=scft.batch_histories=16", "--set=scft.max_pairs=1000000"]
    monkeypatch.setattr(sys, "argv", ["scft_gpu", str(config), "--out", str(out), "--minutes", "0.05", *changes])
    scft_gpu.main()
    raw = np.asarray(read_raw_embeddings(out / "run" / "embed"))
    kept = load_file(out / "raw_embeddings.safetensors")["raw"]
    summary = json.loads((out / "summary.json").read_text())
    adapted, tuned = load_llm(str(tiny_llm), max_tokens=64), Encoder.load(out / "run" / "scft" / "encoder")
    adapted.model.load_adapter(str(out))

    assert kept.dtype == np.float16
    np.testing.assert_allclose(kept, raw, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(_states(adapted), _states(tuned), rtol=1e-3, atol=1e-3)
    assert {path.name for path in out.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "raw_embeddings.safetensors",
        "run",
        "summary.json",
    }
    assert summary["config"]["scft"]["max_minutes"] == 0.05
    assert "pairs/s" in summary["steps"]["scft"]
    assert "adapter_model.safetensors" in capsys.readouterr().out


def _states(encoder: Encoder) -> np.ndarray:
    """Return the last states of a text by the model itself, with whatever weights it has."""
    with torch.inference_mode():
        states: np.ndarray = encoder.model.eval()(input_ids=torch.tensor([[5, 6, 7, 8]])).last_hidden_state.numpy()
    return states
