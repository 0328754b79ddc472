"""LoRA layers put into an LLM of any architecture, and merged into its weights."""

from pathlib import Path

from peft import LoraConfig, TaskType
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from llmemb.files import new_folder

ALL_LINEAR = "all-linear"
"""Every linear layer of the LLM: in a Llama q, k, v, o, gate, up and down, as in the paper."""


def add_lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float) -> None:
    """Put LoRA on all linear layers, scaled by `alpha / rank`; nothing else of `model` is trained from then on."""
    model.add_adapter(
        LoraConfig(
            task_type=TaskType.FEATURE_EXTRACTION,
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=ALL_LINEAR,
        )
    )


def train_dropout(model: PreTrainedModel) -> None:
    """Put the model in evaluation mode, but for LoRA's own dropout."""
    model.eval()
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout.train()


def save_lora(model: PreTrainedModel, folder: Path) -> None:
    """Write the LoRA weights alone, as PEFT does, whole or not at all; `load_adapter(folder)` puts them on the LLM."""
    (config,) = model.peft_config.values()
    assert isinstance(config, LoraConfig)
    # The path of the folder that the LLM came from, and the order of a set, would differ from run to run.
    config.base_model_name_or_path = None
    config.target_modules = sorted(config.target_modules or ())
    with new_folder(folder) as temporary:
        model.save_pretrained(temporary)


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
