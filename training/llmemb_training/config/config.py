"""The configuration of a run: one frozen tree, read from TOML, checked before anything runs.

Every option that affects results is here; a step unpacks its section into plain arguments.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, JsonValue, ValidationError

from llmemb.errors import ConfigError
from llmemb.sequence_models import sequence_model_class
from llmemb_training.config.sections import (
    BundleConfig,
    EmbedConfig,
    EncoderConfig,
    EvaluateConfig,
    PrepareConfig,
    RatConfig,
    ReplayConfig,
    ScftConfig,
    SearchConfig,
    Section,
    SelectConfig,
)


class Config(Section):
    """The whole configuration."""

    seed: int = Field(default=42, ge=0)
    """Seed of all random draws of the run."""
    prepare: PrepareConfig
    encoder: EncoderConfig
    select: SelectConfig = SelectConfig()
    scft: ScftConfig = ScftConfig()
    embed: EmbedConfig = EmbedConfig()
    rat: RatConfig = RatConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    bundle: BundleConfig = BundleConfig()
    search: SearchConfig = SearchConfig()
    replay: ReplayConfig = ReplayConfig()


PRESETS = Path(__file__).parent
"""Folder of the configurations that come with the package."""


def config_file(name: str) -> Path:
    """Return the TOML file that a command's argument names: a path, or a preset without its `.toml`.

    Raises:
        ConfigError: there is neither.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return path
    preset = PRESETS / f"{name}.toml"
    presets = sorted(each.stem for each in PRESETS.glob("*.toml"))
    if name not in presets:
        raise ConfigError(f"no configuration {name!r}: give a TOML file, or one of the presets {', '.join(presets)}")
    return preset


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file and apply overrides such as `rat.alignment.alpha=0`.

    The value of an override is parsed as TOML; if it is not valid TOML, it is plain text.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong; the message names it.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        _apply_override(content, override)
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"{path}: {faults}") from error
    try:
        sequence_model_class(config.rat.model.name)
    except ConfigError as error:
        raise ConfigError(f"{path}: rat.model.name: {error}") from error
    return config


def _apply_override(content: dict[str, JsonValue], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r} must look like section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, name = key.strip().split(".")
    for section in sections:
        inner = content.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override!r}: {section} is no section")
        content = inner
    content[name] = value


def dump_config(config: Config) -> dict[str, JsonValue]:
    """Return the resolved configuration as JSON values."""
    dumped: dict[str, JsonValue] = config.model_dump(mode="json")
    return dumped
