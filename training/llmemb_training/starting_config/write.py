"""Write a commented configuration for a source: `llmemb init`."""

import re
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from llmemb.errors import DataError
from llmemb_training.config import Config, PrepareConfig, load_config
from llmemb_training.data.dataset import Dataset, read_dataset
from llmemb_training.preflight import check_dataset
from llmemb_training.sources import SourceFiles, source_files
from llmemb_training.starting_config.columns import (
    Attribute,
    Role,
    Roles,
    guess_attributes,
    guess_roles,
    is_unicode,
    profile_attributes,
)
from llmemb_training.starting_config.sizes import (
    DENSE,
    SMALL_MODEL_ID,
    Base,
    Sizes,
    choose_sizes,
    estimate_minutes,
    find_base,
)
from llmemb_training.steps import prepare

SEED = 42
ESTIMATES = "# Estimated minutes on this machine"
_CORES = (5, 3, 2, 1)
_EXAMPLE_CHARACTERS = 60
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CATEGORIES = ("categories", "category", "genres", "genre")


def starting_config(source: str, domain: str, base_source: str | None = None) -> str:
    """Return the text of a configuration for a source; only its estimates differ between two calls.

    The source is prepared in a temporary folder, so the sizes are exact, and what `prepare` refuses is refused here.

    Args:
        source: folder of the source, as `prepare.path` names it.
        domain: what the items are, a singular noun.
        base_source: value of `encoder.base`; None: the demo's small model.

    Raises:
        DataError: the folder holds no source, a file cannot be read, or no column holds the users, items or times.
        EncoderError: the base is a local model that cannot become an encoder.
        ConfigError: the domain is empty, or another value cannot be used.
    """
    if not is_unicode(source):
        raise DataError(f"{source!r}: the path of a source must be valid UTF-8 to be written into a configuration")
    files = source_files(Path(source), "auto")
    roles = guess_roles(files) if files.format == "generic" else None
    item_column = roles.item.column if roles else "item_id"
    attributes = guess_attributes(files, item_column) if files.format in ("generic", "recbole") else None
    base = find_base(base_source)
    head = [f"path = {quote(source)}", f"domain = {quote(domain)}"]
    with tempfile.TemporaryDirectory(prefix="llmemb-init-") as temporary:
        folder = Path(temporary)
        config = _load([*_prepare_lines(files, head, roles, attributes, 5), "[encoder]", 'base = ""'], folder)
        start = time.monotonic()
        core, summary = _prepare(config.prepare, folder)
        prepare_seconds = time.monotonic() - start
        dataset = read_dataset(folder)
        known = attributes or profile_attributes(dataset.attributes(), dataset.info.attribute_names)
        sizes = choose_sizes(dataset, base, SEED)
        lines = _prepare_lines(files, head, roles, attributes, core)
        if attributes is None:
            lines += _format_lines(files, known)
        lines += _size_lines(sizes, base, known)
        config = _load(lines, folder)
        check_dataset(config, folder)
        head_lines = _head_lines(source, files, summary, dataset)
        estimates = _estimate_lines(prepare_seconds, config, dataset, base)
    return "\n".join([*head_lines, *estimates, *lines]) + "\n"


def quote(text: str) -> str:
    """Return a text as a TOML string on one line; everything that is not printable is escaped."""
    return '"' + "".join(_escape(character) for character in text) + '"'


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else quote(name)


def _escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\u{ord(character):04X}" if ord(character) < 0x10000 else f"\\U{ord(character):08X}"


def _prepare(config: PrepareConfig, folder: Path) -> tuple[int, str]:
    """Prepare with the largest k-core that leaves anything; return its k and the summary."""
    refused: DataError | None = None
    for core in _CORES:
        try:
            return core, prepare.run(config.model_copy(update={"min_interactions": core}), SEED, folder)
        except DataError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _load(lines: Sequence[str], folder: Path) -> Config:
    path = folder / "starting.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_config(path)


def _head_lines(source: str, files: SourceFiles, summary: str, dataset: Dataset) -> list[str]:
    per_item = dataset.train_counts.sum() / max(dataset.num_warm, 1)
    return [
        "# Written by `llmemb init`, to be read and changed: docs/training.md describes the options.",
        f"# Source {quote(source)}, format {files.format}: {summary}.",
        f"# {per_item:.0f} training interactions per item; from {DENSE} on, the values are those for dense data.",
        "#",
    ]


def _estimate_lines(prepare_seconds: float, config: Config, dataset: Dataset, base: Base) -> list[str]:
    minutes: dict[str, tuple[float | None, str]] = {"prepare": (prepare_seconds / 60, "measured")}
    minutes |= estimate_minutes(config, dataset, base)
    lines = [
        f"#   {step:<10}{'?' if value is None else f'{max(value, 0.1):.1f}':>8}  {rule}"
        for step, (value, rule) in minutes.items()
    ]
    missing = [] if base.local else ["#   ?: unknown until the LLM is on this machine"]
    return [f"{ESTIMATES}, rough:", *lines, *missing, "", f"seed = {SEED}", ""]


def _prepare_lines(
    files: SourceFiles, head: Iterable[str], roles: Roles | None, attributes: Sequence[Attribute] | None, core: int
) -> list[str]:
    lines = ["[prepare]", *head, f'format = "{files.format}"']
    if core != 5:
        lines += ["# With 5, the default, nothing is left: items and users with fewer interactions are dropped."]
    lines += [f"min_interactions = {core}"]
    split = [attribute.column for attribute in attributes or () if attribute.split and not attribute.why_not]
    if split:
        lines += [f"list_attributes = [{', '.join(map(quote, split))}]"]
    if roles is not None:
        lines += _role_lines(roles)
    if attributes is not None:
        lines += [
            "",
            "# What the LLM reads of an item, in this order: name in the prompt = column.",
            "[prepare.attributes]",
        ]
        for attribute in (each for each in attributes if not each.why_not):
            lines += [_comment(attribute), f"{_key(attribute.column)} = {quote(attribute.column)}"]
        left_out = [each for each in attributes if each.why_not]
        if left_out:
            lines += ["# Left out:"]
        for attribute in left_out:
            name = attribute.column
            lines += [f"# {_key(name)} = {quote(name)}  # {attribute.why_not}{_examples(attribute.examples)}"]
    return [*lines, ""]


def _role_lines(roles: Roles) -> list[str]:
    lines = []
    if roles.rating is not None:
        lines += ["# Drops interactions rated lower:", "# min_rating = 4"]
    lines += ["", "[prepare.columns]"]
    named: dict[str, Role | None] = {
        "user_id": roles.user,
        "item_id": roles.item,
        "timestamp": roles.time,
        "rating": roles.rating,
    }
    for name, role in named.items():
        if role is not None:
            lines += [f"# UNCERTAIN: {role.doubt}"] if role.doubt else []
            lines += [f"# {_examples(role.examples).removeprefix(': ')}", f"{name} = {quote(role.column)}"]
    return lines


def _format_lines(files: SourceFiles, known: Sequence[Attribute]) -> list[str]:
    lines = [f"# The attributes of {files.format}; a table [prepare.attributes] would replace them, see docs/data.md:"]
    for attribute in known:
        why = f" ({attribute.why_not})" if attribute.why_not else ""
        lines += [f"#   {attribute.column}, {attribute.kind}{why}{_examples(attribute.examples)}"]
    return [*lines, ""]


def _size_lines(sizes: Sizes, base: Base, known: Sequence[Attribute]) -> list[str]:
    return [
        *_encoder_lines(sizes, base),
        *_scft_lines(sizes, base),
        *_rat_lines(sizes),
        *_bundle_lines(known),
    ]


def _encoder_lines(sizes: Sizes, base: Base) -> list[str]:
    lines = ["[encoder]"]
    if not base.local:
        lines += [
            "# Not on this machine. A Hugging Face id is downloaded at the first use; `make model` in the repository",
            "# downloads the demo's small model, for `llmemb init --base`. Which models work: docs/training.md, Bases.",
        ]
    elif base.source != SMALL_MODEL_ID:
        lines += ["# A Hugging Face id, a folder or a .gguf file: docs/training.md, Bases."]
    lines += [f"base = {quote(base.source)}"]
    if sizes.depth is not None:
        lines += [f'# Of {base.depth} layers; "auto" chooses on validation.', f"depth = {sizes.depth}"]
    if base.pooling != "mean":
        lines += [f'pooling = "{base.pooling}"']
    measure = "tokens" if base.local else "characters, three a token,"
    return [*lines, f"# By the {measure} of a sample of prompts.", f"max_tokens = {sizes.max_tokens}", ""]


def _scft_lines(sizes: Sizes, base: Base) -> list[str]:
    lines = ["[scft]", "# enabled = false leaves the LLM as it is.", f'positives = "{sizes.positives}"']
    if sizes.max_pairs is not None:
        lines += ["# The longest step; fewer pairs take less time.", f"max_pairs = {sizes.max_pairs}"]
    if base.made_for_cosines:
        lines += ["# The base was trained on cosines of its own vectors.", "whitened_components = 0"]
    return [*lines, "learning_rate = 1e-3", ""]


def _rat_lines(sizes: Sizes) -> list[str]:
    lines = ["[rat]", f"components = {sizes.components}", f"batch_size = {sizes.batch_size}"]
    lines += [f"learning_rate = {sizes.learning_rate:g}", f"max_epochs = {sizes.max_epochs}"]
    lines += [f"patience = {sizes.patience}"]
    if sizes.loss != "softmax":
        lines += ["# The full softmax takes too long over so many items.", f'loss = "{sizes.loss}"']
    if sizes.term_components is not None:
        lines += ['new_item_scale = "auto"']
    alignment = ["alpha = 0.01", "temperature = 0.2"] if sizes.dense else ["alpha = 0.0"]
    lines += ["", "[rat.alignment]", *alignment]
    lines += ["", "[rat.residual]", 'mode = "all"', f"dropout = {0.1 if sizes.dense else 0.3}"]
    if sizes.term_components is not None:
        lines += ["", "# Chosen on validation, with items that are held out to stand for new ones."]
        lines += ["[rat.semantic_term]", 'gamma = "auto"', f"components = {sizes.term_components}", "trained = false"]
        lines += ["", "[rat.successors]"]
        lines += [f'{option} = "auto"' for option in ("delta", "estimator", "out_power", "in_power", "window")]
    lines += ["", "[rat.model]", 'name = "sasrec"', f"dim = {sizes.dim}", f"layers = {sizes.layers}"]
    return [*lines, f"max_length = {sizes.max_length}"]


def _bundle_lines(known: Sequence[Attribute]) -> list[str]:
    """Name the attribute with the categories, unless the default finds it."""
    used = [attribute for attribute in known if not attribute.why_not]
    if any(attribute.column in _CATEGORIES for attribute in used):
        return []
    lists = [attribute.column for attribute in used if attribute.kind == "list"]
    if not lists:
        return []
    return ["", "[bundle]", "# The service filters by its values.", f"categories_attribute = {quote(lists[0])}"]


def _comment(attribute: Attribute) -> str:
    doubt = f"; UNCERTAIN: {attribute.doubt}" if attribute.doubt else ""
    return f"# {attribute.kind}{doubt}{_examples(attribute.examples)}"


def _examples(examples: Sequence[str]) -> str:
    shown = [text if len(text) <= _EXAMPLE_CHARACTERS else text[:_EXAMPLE_CHARACTERS] + "…" for text in examples]
    return f": {', '.join(map(quote, shown))}" if shown else ""
