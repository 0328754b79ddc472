"""`llmemb key`: make an API key."""

import argparse
import sys
from pathlib import Path

from llmemb.errors import ConfigError
from llmemb_service.guard.keys import Role, key_line, make_key, parse_keys


def key(arguments: list[str]) -> None:
    """Make a random API key, print it once, and print its line for the API key file or append it.

    Raises:
        ConfigError: the name is invalid, or the file cannot be read or written.
    """
    parser = argparse.ArgumentParser(
        prog="llmemb key",
        description="Make an API key. It is shown once; the file of LLMEMB_API_KEYS_FILE has only its hash. "
        "A running service reloads the changed file within seconds. To revoke a key, delete its line.",
    )
    parser.add_argument("--name", required=True, help="name of the key in logs and metrics, such as shop")
    parser.add_argument(
        "--role", action="append", required=True, choices=list(map(str, Role)), dest="roles", help="can be repeated"
    )
    parser.add_argument("--rate-limit", type=int, metavar="N", help="requests a minute, instead of the service's limit")
    parser.add_argument("--file", type=Path, help="append the line to this file; without it, the line is printed")
    options = parser.parse_args(arguments)
    secret, api_key = make_key(options.name, tuple(map(Role, options.roles)), options.rate_limit)
    line = key_line(api_key)
    if options.file is None:
        sys.stdout.write(f"key, shown only now: {secret}\nline for the file:   {line}\n")
    else:
        _append(options.file, line)
        sys.stdout.write(f"key, shown only now: {secret}\nits line is in {options.file}\n")


def _append(path: Path, line: str) -> None:
    """Append a line to a valid API key file, or to a new one."""
    try:
        content = path.read_bytes() if path.exists() else b""
        if content.strip():
            parse_keys(content, path)
        start = "\n" if content and not content.endswith(b"\n") else ""
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{start}{line}\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
