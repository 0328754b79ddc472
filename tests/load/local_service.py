"""`llmemb serve` on a free port of this machine, for a load that is not told where to go."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_END_SECONDS = 60.0


@contextmanager
def local_service(bundle: Path, log: Path) -> Iterator[str]:
    """Serve a bundle with an empty state folder while the block runs; yields the URL.

    Args:
        bundle: its folder.
        log: takes what the service says.

    Raises:
        RuntimeError: it did not start; the log says why.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "llmemb", "serve", "--bundle", str(bundle), "--host", "127.0.0.1", "--port", "0"]
    with tempfile.TemporaryDirectory() as state, log.open("w", encoding="utf-8") as errors:
        environment = os.environ | {"LLMEMB_STATE_DIR": state, "PYTHONUNBUFFERED": "1"}
        environment.setdefault("LLMEMB_LOG_LEVEL", "warning")  # a line for each request says nothing more
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            try:
                url = next((line.split()[2] for line in process.stdout if line.startswith("serving on ")), None)
                if url is None:
                    raise RuntimeError(f"the service did not start; see {log}")
                yield url
            finally:
                process.terminate()
                try:
                    process.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
