"""`benchmarks.worker`: work in another process, a round at a time."""

import sys
from pathlib import Path

import pytest

from benchmarks.worker import Worker

COUNTER = """
import sys
from benchmarks.worker import serve

def prepare():
    rounds = []
    print("a library prints this")
    def work():
        rounds.append(1)
        if len(rounds) > 2:
            raise ValueError("worn out")
        return {"rounds": len(rounds)}
    return {"given": sys.argv[1]}, work

serve(prepare)
"""


def test_worker_answers_facts_then_rounds_and_reports_its_end(tmp_path: Path) -> None:
    """What the work prints is no answer, and an exception of the work is shown to who asked."""
    (tmp_path / "counter.py").write_text(COUNTER, encoding="utf-8")

    with Worker(Path(sys.executable), "counter", ["it"], threads=1, folder=tmp_path, name="counter") as worker:
        assert worker.facts == {"given": "it"}
        assert [worker.round()["rounds"] for _ in range(2)] == [1, 2]
        with pytest.raises(RuntimeError, match="worn out"):
            worker.round()
    assert "a library prints this" in (tmp_path / "counter.log").read_text(encoding="utf-8")
