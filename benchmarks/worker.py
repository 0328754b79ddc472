"""A worker process that runs one round on request, so that our side and the peers alternate.

It uses the standard library only, because a worker may run in a peer's environment. It answers each input line with a
line of JSON; other output of the work goes to stderr.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

Answer = dict[str, float | str]
Options = TypeVar("Options")
"""Content of the JSON file with the options of a worker."""
ROUND = "round"


class Worker:
    """The parent's end of a worker process, a context manager that ends it.

    Args:
        python: the interpreter of its environment.
        module: its module, such as `benchmarks.recbole_worker`.
        arguments: for its command line.
        threads: that its libraries may use.
        folder: where it runs; takes its stderr, `<name>.log`.
        name: of the worker, different for each of a folder.
    """

    def __init__(
        self, python: Path, module: str, arguments: Sequence[str], *, threads: int, folder: Path, name: str
    ) -> None:
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"{name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", module, *arguments],
                cwd=folder,
                env=worker_environment(threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.facts = self._read()

    def round(self) -> Answer:
        """Run one round.

        Raises:
            RuntimeError: the worker ended.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # that it ended is what reading finds
            self._process.stdin.write(ROUND + "\n")
            self._process.stdin.flush()
        return self._read()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()  # waits, and closes the pipes

    def _read(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            tail = self._log.read_text(encoding="utf-8").splitlines()[-15:]
            raise RuntimeError("\n".join([f"worker {self.name} ended; the end of {self._log}:", *tail]))
        answer: Answer = json.loads(line)
        return answer


def worker_environment(threads: int) -> Mapping[str, str]:
    """Return the environment of a process that finds `benchmarks` and keeps to its threads."""
    repository = Path(__file__).parents[1]
    sources = os.pathsep.join(map(str, (repository, repository / "service", repository / "training")))
    bound = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return os.environ | bound | {"OMP_WAIT_POLICY": "passive", "PYTHONPATH": sources}


def serve(prepare: Callable[[], tuple[Answer, Callable[[], Answer]]]) -> None:
    """Be a worker: prepare, answer with the facts, then run a round for each line that comes.

    Args:
        prepare: returns the facts and the work of a round.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    facts, work = prepare()
    print(json.dumps(facts), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == ROUND:
            print(json.dumps(work()), file=answers, flush=True)


def serve_verb(
    epochs: Callable[[Options], tuple[Answer, Callable[[], Answer]]], train: Callable[[Options], None]
) -> None:
    """Run the command line of a peer's worker, `epochs OPTIONS` or `train OPTIONS`; OPTIONS is a JSON file.

    Args:
        epochs: prepares to train an epoch a round.
        train: trains to the end.
    """
    verb, path = sys.argv[1:]
    options: Options = json.loads(Path(path).read_text(encoding="utf-8"))
    if verb == "epochs":
        serve(lambda: epochs(options))
    else:
        train(options)
