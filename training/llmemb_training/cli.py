"""Command-line verbs of the trainer."""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

from llmemb_training.config import Config, config_file, load_config
from llmemb_training.scft import processes


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


@_with_helpers
def train(arguments: list[str]) -> None:
    """`llmemb train CONFIG`: run every step that is not up to date."""
    config, folder = _parse("train", arguments)
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
    folder = parsed.run or Path("runs") / parsed.config.stem
    return load_config(parsed.config, parsed.set), folder


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"llmemb {verb}")
    parser.add_argument("config", type=config_file, help="a TOML file or a preset, such as demo")
    parser.add_argument("--run", type=Path, help="the run folder; default: runs/ with the config's name")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a value, e.g. rat.alignment.alpha=0"
    )
    return parser
