"""LoRA layers put into an LLM of any architecture, and merged into its weights."""

from peft import LoraConfig, TaskType
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"
"""Every linear layer of the LLM: in a Llama q, k, v, o, gate, up and down, as in the paper."""


def lora_config(rank: int, alpha: int, dropout: float) -> LoraConfig:
    """Return LoRA on all linear layers; its update is scaled by `alpha / rank`."""
    return LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=ALL_LINEAR,
    )


def merge_lora(model: PreTrainedModel) -> PreTrainedModel:
    """Add every LoRA update to the weight under it and take the LoRA layers out; changes `model` in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    del model.peft_config
    model._hf_peft_config_loaded = False
    return model
