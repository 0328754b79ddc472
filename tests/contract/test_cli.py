"""The command `llmemb`: its verbs, its exit codes, and a help that needs no torch."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmemb import __version__
from llmemb.cli import COMMANDS, main

VERBS = [
    "init",
    "train",
    "prepare",
    "select",
    "scft",
    "embed",
    "rat",
    "evaluate",
    "report",
    "bundle",
    "ablate",
    "table",
    "replay",
    "runs",
    "serve",
    "check",
    "key",
    "backup",
    "restore",
    "openapi",
]


def run(*arguments: str, code: str = "", path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m llmemb`, or `code`, in a process of its own, with `path` as its working folder."""
    how = ["-c", code] if code else ["-m", "llmemb"]
    return subprocess.run(
        [sys.executable, *how, *arguments], capture_output=True, text=True, check=False, timeout=120, cwd=path
    )


def test_verbs_are_frozen() -> None:
    """A verb that appears, goes or changes its name breaks somebody's script."""
    assert list(COMMANDS) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_function(verb: str) -> None:
    """The table's strings name functions that exist."""
    module, function = COMMANDS[verb][0].split(":")

    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`llmemb VERB --help` succeeds and names the verb."""
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])

    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: llmemb {verb} ")


def test_help_lists_every_verb_and_loads_no_torch() -> None:
    """`llmemb --help` is instant: neither torch nor another package of ours is imported for it."""
    code = (
        "import sys; from llmemb.cli import main\n"
        "heavy = {'torch', 'transformers', 'numpy', 'llmemb_training', 'llmemb_service'}\n"
        "try: main(['--help'])\n"
        "finally: print(heavy & set(sys.modules), file=sys.stderr)"
    )

    done = run(code=code)

    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert re.findall(r"^  (\w+)", done.stdout, flags=re.MULTILINE) == VERBS


@pytest.mark.parametrize(
    ("arguments", "code", "stream"),
    [(["--help"], 0, "stdout"), (["-h"], 0, "stdout"), ([], 2, "stdout"), (["--version"], 0, "stdout")],
)
def test_answers_without_a_verb(arguments: list[str], code: int, stream: str) -> None:
    """Help and version succeed; no verb at all is wrong usage, answered by the help."""
    done = run(*arguments)

    assert done.returncode == code
    assert done.stderr == ""
    assert done.stdout == (f"{__version__}\n" if arguments == ["--version"] else run("--help").stdout)


@pytest.mark.parametrize("verb", ["fly", "Train", "--train", "", "serve "])
def test_unknown_verb_is_wrong_usage(verb: str) -> None:
    """An unknown verb ends with 2 and the list of verbs."""
    done = run(verb)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"llmemb: no command {verb!r}; one of {', '.join(VERBS)}\n"


@pytest.mark.parametrize("arguments", [["train"], ["train", "a.toml", "--nonsense"], ["serve", "--port", "x"]])
def test_wrong_options_are_wrong_usage(arguments: list[str]) -> None:
    """A verb's missing or unknown argument ends with 2 and a usage line, not a traceback."""
    done = run(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: llmemb {arguments[0]} ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["train", "missing.toml"], ["serve", "--bundle", "missing", "--port", "0"]])
def test_our_error_is_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    """What we refuse ends with 3; the last line names the verb and the fault, and there is no traceback."""
    done = run(*arguments, path=tmp_path)
    last = done.stderr.splitlines()[-1]

    assert done.returncode == 3
    assert last.startswith(f"llmemb {arguments[0]}: ")
    assert "missing" in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("print(arguments)", 0, r"^$"),
        ("raise DataError('items.csv, line 3: no id')", 3, r"^llmemb demo: items\.csv, line 3: no id\n$"),
        ("raise KeyboardInterrupt", 130, r"^\nllmemb demo: stopped; run the same command again to go on\n$"),
        ("raise ZeroDivisionError", 1, r"^Traceback .*\nZeroDivisionError\n$"),
        (
            "import nonesuch",
            3,
            r"^llmemb demo: the module 'nonesuch' is missing; install it with: pip install 'llmemb\[demo\]'\n$",
        ),
    ],
)
def test_end_of_a_verb_is_the_exit_code(body: str, code: int, stderr: str, tmp_path: Path) -> None:
    """Good is 0, a bug 1 with its traceback, our error or a missing extra 3, an interruption 130."""
    (tmp_path / "llmemb_demo.py").write_text(f"from llmemb.errors import DataError\ndef verb(arguments):\n    {body}\n")
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "from llmemb.cli import COMMANDS, main\n"
        "COMMANDS['demo'] = ('llmemb_demo:verb', 'a verb for this test')\n"
        "main(['demo', 'one', '--two'])"
    )

    done = run(code=program, path=tmp_path)

    assert done.returncode == code
    assert re.search(stderr, done.stderr, flags=re.DOTALL), done.stderr
    assert done.stdout == ("['one', '--two']\n" if code == 0 else "")
