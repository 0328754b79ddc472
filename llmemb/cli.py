"""The `llmemb` command: a table of subcommands, each in a module that is imported only when it is run.

The table holds names, not imports, so that the three packages stay independent and `--help` does not import torch.
"""

import importlib
import os
import sys

from llmemb import __version__
from llmemb.cpus import limit_threads
from llmemb.errors import LlmembError

COMMANDS: dict[str, tuple[str, str]] = {
    # command: (module:function, help)
    "init": ("llmemb_training.cli:init", "look at a source and print a commented configuration for it"),
    "train": ("llmemb_training.cli:train", "all steps of a config, skipping what is up to date"),
    "prepare": ("llmemb_training.cli:prepare", "read the source, split it, hold cold items out"),
    "select": ("llmemb_training.cli:select", 'choose on validation what the config leaves open by "auto"'),
    "scft": ("llmemb_training.cli:scft", "fine-tune the LLM contrastively"),
    "embed": ("llmemb_training.cli:embed", "embed every item with the tuned LLM"),
    "rat": ("llmemb_training.cli:rat", "train adapter and sequence model, aligned to collaborative embeddings"),
    "evaluate": ("llmemb_training.cli:evaluate", "rank the test targets, ours and the baselines"),
    "report": ("llmemb_training.cli:report", "write the report that a person reads, one HTML file"),
    "bundle": ("llmemb_training.cli:bundle", "write the bundle that the service reads"),
    "ablate": ("llmemb_training.cli:ablate", "train a config with parts switched off or changed, over several seeds"),
    "table": ("llmemb_training.cli:table", "train the paper's methods on several data sets and sequence models"),
    "replay": ("llmemb_training.cli:replay", "measure what a new item gains by its first clicks, in time order"),
    "runs": ("llmemb_training.cli:runs", "list runs with what came out, or compare some"),
    "serve": ("llmemb_service.cli:serve", "serve a bundle over HTTP"),
    "check": ("llmemb_service.bundles.check:check", "serve a bundle on a free port, ask it real requests, and stop"),
    "key": ("llmemb_service.guard.key_cli:key", "make an API key for the service"),
    "backup": ("llmemb_service.backup.cli:backup", "write added items and sessions to a file; the service may run"),
    "restore": ("llmemb_service.backup.cli:restore", "put a backup into an empty storage, whole or not at all"),
    "openapi": ("llmemb_service.cli:openapi", "print the service's OpenAPI description"),
}

EXIT_OUR_ERROR = 3
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def usage() -> str:
    """The text of `llmemb --help`."""
    verbs = "\n".join(f"  {verb:<10}{what}" for verb, (_, what) in COMMANDS.items())
    return f"usage: llmemb COMMAND ...\n\n{verbs}\n\n`llmemb COMMAND --help` tells more of one. Version {__version__}."


def main(arguments: list[str] | None = None) -> None:
    """Run one command. Exit status: 0 success, 1 a bug, 2 wrong usage, 3 an error reported in one sentence."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(usage())
        sys.exit(0 if arguments else EXIT_USAGE)
    if arguments[0] == "--version":
        print(__version__)
        sys.exit(0)
    verb, rest = arguments[0], arguments[1:]
    if verb not in COMMANDS:
        print(f"llmemb: no command {verb!r}; one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    target, _ = COMMANDS[verb]
    module_name, function_name = target.split(":")
    limit_threads(os.environ)
    try:
        command = getattr(importlib.import_module(module_name), function_name)
        command(rest)
    except ModuleNotFoundError as error:
        extra = module_name.split(".")[0].removeprefix("llmemb_")
        print(
            f"llmemb {verb}: the module {error.name!r} is missing; install it with: pip install 'llmemb[{extra}]'",
            file=sys.stderr,
        )
        sys.exit(EXIT_OUR_ERROR)
    except LlmembError as error:
        print(f"llmemb {verb}: {error}", file=sys.stderr)
        sys.exit(EXIT_OUR_ERROR)
    except KeyboardInterrupt:
        print(f"\nllmemb {verb}: stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
