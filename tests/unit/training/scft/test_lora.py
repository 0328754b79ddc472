"""`llmemb_training.scft.contrastive`: all linear layers of any architecture, and their updates in the weights."""

from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer
from transformers import AutoModel, Gemma3TextConfig, GPTNeoXConfig, LlamaConfig, PretrainedConfig, Qwen2Config

from llmemb.encoder.encoder import load_llm
from llmemb_training.scft.contrastive import add_lora, merge_lora
from tests.support.tiny import tiny_tokenizer

SIZES = {
    "vocab_size": 400,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GATED = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize(
    ("config", "targets"),
    [
        (LlamaConfig(**SIZES), GATED),
        (Qwen2Config(**SIZES, num_key_value_heads=1), GATED),
        (Gemma3TextConfig(**SIZES, num_key_value_heads=1, head_dim=8), GATED),
        (GPTNeoXConfig(**SIZES), {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),
    ],
    ids=lambda value: value.model_type if isinstance(value, PretrainedConfig) else "",
)
def test_every_linear_layer_is_tuned_and_merged(config: PretrainedConfig, targets: set[str], tmp_path: Path) -> None:
    """In each of the kept layers; the merged model answers as the unmerged one, with the weights it had by name."""
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    model = load_llm(str(tmp_path), depth=2).model
    names = set(model.state_dict())
    tokens = torch.tensor([[5, 6, 7, 8]])
    before = model(tokens).last_hidden_state.detach()
    add_lora(model, 4, 8, 0.0)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    for layer in layers.values():
        torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.3)
    unmerged = model(tokens).last_hidden_state.detach()
    merged = merge_lora(model)

    assert {name.rpartition(".")[2] for name in layers} == targets
    assert len(layers) == 2 * len(targets)
    assert set(merged.state_dict()) == names
    assert not torch.allclose(unmerged, before, atol=0.05)
    torch.testing.assert_close(merged(tokens).last_hidden_state.detach(), unmerged, rtol=1e-4, atol=1e-4)


def test_merged_model_is_saved_as_a_whole_one(tmp_path: Path) -> None:
    """`save_pretrained` writes all weights and no adapter, and loading them gives the merged model."""
    torch.manual_seed(0)
    model = AutoModel.from_config(LlamaConfig(**SIZES))
    add_lora(model, 4, 8, 0.0)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            torch.nn.init.normal_(module.lora_B["default"].weight, std=0.3)
    merged = merge_lora(model)
    merged.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)

    assert not (tmp_path / "adapter_config.json").exists()
    for name, weight in merged.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], weight, rtol=0, atol=0)
