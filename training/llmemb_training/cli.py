"""Command-line verbs of the trainer."""

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path

from llmemb.errors import ConfigError
from llmemb.files import write_text_atomically
from llmemb_training.config import Config, config_file, load_config
from llmemb_training.scft import processes

_DOMAIN = "item"


def _with_helpers(verb: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Run the verb in the main process of `torchrun`; the worker processes help to fine-tune."""

    @functools.wraps(verb)
    def run(arguments: list[str]) -> None:
        with processes.joined():
            if processes.is_main():
                verb(arguments)
            else:
                from llmemb_training.steps import scft

                scft.help_main()
        if processes.count() > 1:
            processes.leave()

    return run


def init(arguments: list[str]) -> None:
    """`llmemb init DATA`: print a commented configuration for a source."""
    parser = argparse.ArgumentParser(
        prog="llmemb init",
        description="Look at a source and print a commented configuration for it: columns, sizes, and estimates of the "
        "time of each step on this machine.",
    )
    parser.add_argument("data", metavar="DATA", help="the folder of the source; docs/data.md lists the formats")
    parser.add_argument("--domain", default=_DOMAIN, metavar="WORD", help="what the items are, such as movie")
    parser.add_argument("--base", metavar="LLM", help="a Hugging Face id, a folder or a .gguf file")
    parsed = parser.parse_args(arguments)
    from llmemb_training.starting_config import starting_config

    # Standard output is the configuration alone: `llmemb init DATA > own.toml`.
    with contextlib.redirect_stdout(sys.stderr):
        text = starting_config(parsed.data, parsed.domain, parsed.base)
    sys.stdout.buffer.write(text.encode())


@_with_helpers
def train(arguments: list[str]) -> None:
    """`llmemb train CONFIG`: run every step that is not up to date; with the folder of a source, write CONFIG first."""
    parser = _parser("train", _config_or_source)
    parsed = parser.parse_args(arguments)
    folder = _run_folder(parsed)
    path = _start(parsed.config, folder) if parsed.config.is_dir() else parsed.config
    config = load_config(path, parsed.set)
    from llmemb_training import pipeline

    pipeline.train(config, folder)


def prepare(arguments: list[str]) -> None:
    """`llmemb prepare CONFIG`."""
    _run_verb("prepare", arguments)


@_with_helpers
def scft(arguments: list[str]) -> None:
    """`llmemb scft CONFIG`."""
    _run_verb("scft", arguments)


def select(arguments: list[str]) -> None:
    """`llmemb select CONFIG`."""
    _run_verb("select", arguments)


def embed(arguments: list[str]) -> None:
    """`llmemb embed CONFIG`."""
    _run_verb("embed", arguments)


def rat(arguments: list[str]) -> None:
    """`llmemb rat CONFIG`."""
    _run_verb("rat", arguments)


def evaluate(arguments: list[str]) -> None:
    """`llmemb evaluate CONFIG`, and print its tables."""
    folder = _run_verb("evaluate", arguments)
    print((folder / "evaluate" / "table.md").read_text(encoding="utf-8"))


def report(arguments: list[str]) -> None:
    """`llmemb report CONFIG`."""
    _run_verb("report", arguments)


def bundle(arguments: list[str]) -> None:
    """`llmemb bundle CONFIG`."""
    _run_verb("bundle", arguments)


@_with_helpers
def ablate(arguments: list[str]) -> None:
    """`llmemb ablate CONFIG`: run the ablation study over several seeds and print the tables."""
    parser = _parser("ablate")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument(
        "--variants",
        nargs="+",
        default=[],
        metavar="NAME",
        help='names of variants, such as "no SCFT"; default: all; `llmemb` always runs',
    )
    parsed = parser.parse_args(arguments)
    from llmemb_training.comparison.ablation import ablate as run_ablation

    folder = parsed.run or Path("runs") / f"{parsed.config.stem}-ablation"
    table = run_ablation(parsed.config, parsed.set, parsed.seeds, parsed.variants, folder)
    print(table.read_text(encoding="utf-8"))


@_with_helpers
def table(arguments: list[str]) -> None:
    """`llmemb table CONFIG...`: compare the paper's methods on several data sets and models; print the tables."""
    parser = argparse.ArgumentParser(
        prog="llmemb table",
        description="Train and rank the paper's methods on several data sets and sequence models, each tuned by the "
        "same search. Cells that are up to date are skipped; the table is written after every cell.",
    )
    parser.add_argument(
        "configs", type=config_file, nargs="*", metavar="CONFIG", help="a preset or TOML file for each data set"
    )
    parser.add_argument("--run", type=Path, default=Path("runs/table"), help="folder for the table and its runs")
    parser.add_argument("--models", nargs="+", default=["sasrec", "gru4rec", "bert4rec"], metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44], help="seeds for the first sequence model")
    parser.add_argument(
        "--other-seeds", type=int, nargs="+", help="seeds for the other sequence models; default: the first of --seeds"
    )
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="NAME", help="names of rows, such as llmemb_paper; default: all"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[CONFIG:]KEY=VALUE",
        help="override a value, for all configurations or for a named one, e.g. beauty:rat.max_epochs=60",
    )
    parser.add_argument(
        "--shared", type=Path, nargs="+", default=[], metavar="RUN", help="reuse steps of these run folders"
    )
    parser.add_argument("--summary", action="store_true", help="only print the summary table of --run")
    parsed = parser.parse_args(arguments)
    if parsed.summary == bool(parsed.configs):
        parser.error("give configurations, or --summary without any")
    from llmemb_training.comparison.table_pages import make_summary, read_table

    if parsed.summary:
        print(make_summary(read_table(parsed.run)), end="")
        return
    from llmemb_training.comparison.table import TableRequest, make_table

    request = TableRequest(
        config_paths=parsed.configs,
        overrides=parsed.set,
        models=parsed.models,
        seeds=parsed.seeds,
        other_seeds=parsed.other_seeds or parsed.seeds[:1],
        rows=parsed.rows,
        folder=parsed.run,
        shared=parsed.shared,
    )
    written = make_table(request)
    print(written.read_text(encoding="utf-8"))


def replay(arguments: list[str]) -> None:
    """`llmemb replay CONFIG`, and print its table."""
    folder = _run_verb("replay", arguments)
    print((folder / "replay" / "table.md").read_text(encoding="utf-8"))


def runs(arguments: list[str]) -> None:
    """`llmemb runs [FOLDER]`: list runs; `llmemb runs RUN RUN`: compare runs."""
    parser = argparse.ArgumentParser(
        prog="llmemb runs",
        description="List the runs at and below a folder, or compare two or more runs.",
    )
    parser.add_argument("folders", type=Path, nargs="*", default=[Path("runs")], metavar="FOLDER")
    folders: list[Path] = parser.parse_args(arguments).folders
    from llmemb_training.comparison.run_summary import find_runs, read_run
    from llmemb_training.comparison.run_tables import compare_runs, list_runs

    if len(folders) > 1:
        print(compare_runs([read_run(folder) for folder in folders]), end="")
        return
    found = [read_run(path) for path in find_runs(folders[0])]
    print(list_runs(found) if found else f"no runs in {folders[0]}\n", end="")


def _run_verb(verb: str, arguments: list[str]) -> Path:
    config, folder = _parse(verb, arguments)
    from llmemb_training import pipeline

    pipeline.run_verb(verb, config, folder)
    return folder


def _parse(verb: str, arguments: list[str]) -> tuple[Config, Path]:
    parsed = _parser(verb).parse_args(arguments)
    return load_config(parsed.config, parsed.set), _run_folder(parsed)


def _run_folder(parsed: argparse.Namespace) -> Path:
    run: Path | None = parsed.run
    config: Path = parsed.config
    return run or Path("runs") / (config.resolve().name if config.is_dir() else config.stem)


def _config_or_source(name: str) -> Path:
    """Return a configuration, or else a folder that may hold a source; a preset precedes a folder of its name."""
    try:
        return config_file(name)
    except ConfigError:
        if Path(name).is_dir():
            return Path(name)
        raise


def _start(source: Path, folder: Path) -> Path:
    """Write a configuration for a source into the run folder, unless it is there; return its path."""
    path = folder / "config.toml"
    if path.is_file():
        print(f"train     the configuration is {path}")
        return path
    from llmemb_training.starting_config import starting_config

    text = starting_config(str(source), _DOMAIN)
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, text)
    print(f"train     wrote the configuration {path}; edit it, and run the same command again")
    return path


def _parser(verb: str, config_type: Callable[[str], Path] = config_file) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"llmemb {verb}")
    parser.add_argument(
        "config",
        type=config_type,
        help="a TOML file or a preset, such as demo"
        + (
            "; or the folder of a source, for which a configuration is written into the run folder"
            if verb == "train"
            else ""
        ),
    )
    parser.add_argument("--run", type=Path, help="the run folder; default: runs/ with the config's name")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a value, e.g. rat.alignment.alpha=0"
    )
    return parser
