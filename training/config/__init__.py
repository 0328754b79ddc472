"""The configuration: typed sections, read from TOML, and the presets. Imports nothing else from the trainer."""

from training.config.config import Config, dump_config, load_config
from training.config.sections import (
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
    "dump_config",
    "load_config",
]
