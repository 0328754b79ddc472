"""What a configuration asks of its base, held against the base itself before anything runs."""

from llmemb.encoder_base import EncoderBase, read_base
from llmemb.errors import ConfigError
from llmemb.prompt import PromptSpec
from training.config import Config


def check_base(config: Config) -> None:
    """Refuse a configuration that its base cannot do. The base's weights are not read.

    Raises:
        EncoderError: the base is none, or has too few layers or positions, or another pooling.
        ConfigError: the base is narrower than `components`, or the instruction leaves no room for an item.
    """
    base = read_base(config.encoder.base)
    depth = None if config.encoder.depth == "auto" else config.encoder.depth
    base.check(depth=depth, pooling=config.encoder.pooling, max_tokens=config.encoder.max_tokens)
    if config.encoder.depth == "auto":
        _check_candidates(config, base)
    _check_components(config, base)
    _check_instruction(config, base)


def _check_candidates(config: Config, base: EncoderBase) -> None:
    deepest = max(config.select.depth, default=1)
    if deepest > base.depth:
        raise ConfigError(
            f"select.depth has {deepest}, but {base.source!r} has {base.depth} layers: choose from 1 to {base.depth}"
        )


def _check_components(config: Config, base: EncoderBase) -> None:
    asked: list[tuple[str, int]] = []
    if config.rat.reduction != "none":
        if config.rat.components == "auto":
            asked += [("a candidate of select.components", components) for components in config.select.components]
        else:
            asked.append(("rat.components", config.rat.components))
    if config.rat.semantic_term.gamma != 0:
        asked.append(("rat.semantic_term.components", config.rat.semantic_term.components))
    for option, components in asked:
        if components > base.width:
            raise ConfigError(
                f"{option} is {components}, but the vectors of {base.source!r} are {base.width} wide: "
                f"choose at most {base.width}"
            )


def _check_instruction(config: Config, base: EncoderBase) -> None:
    prompt = PromptSpec(config.prepare.domain, (), instruction=config.prepare.instruction)
    tokens = len(base.tokenizer(prompt.beginning)["input_ids"])
    if tokens >= config.encoder.max_tokens:
        raise ConfigError(
            f"prepare.instruction takes {tokens} tokens, and encoder.max_tokens is {config.encoder.max_tokens}: "
            "nothing of an item would be left"
        )
