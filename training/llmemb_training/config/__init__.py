"""The configuration: typed sections, read from TOML, and the presets. Imports nothing else from the trainer."""

from llmemb_training.config.config import Config, config_file, dump_config, load_config
from llmemb_training.config.sections import (
    AlignmentConfig,
    BundleConfig,
    ColumnsConfig,
    EmbedConfig,
    EncoderConfig,
    EvaluateConfig,
    PrepareConfig,
    RatConfig,
    ReplayConfig,
    ResidualConfig,
    ScftConfig,
    SearchConfig,
    SelectConfig,
    SemanticTermConfig,
    SourceFormat,
    SuccessorsConfig,
)

__all__ = [
    "AlignmentConfig",
    "BundleConfig",
    "ColumnsConfig",
    "Config",
    "EmbedConfig",
    "EncoderConfig",
    "EvaluateConfig",
    "PrepareConfig",
    "RatConfig",
    "ReplayConfig",
    "ResidualConfig",
    "ScftConfig",
    "SearchConfig",
    "SelectConfig",
    "SemanticTermConfig",
    "SourceFormat",
    "SuccessorsConfig",
    "config_file",
    "dump_config",
    "load_config",
]
