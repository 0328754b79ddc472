"""Files of API keys, as `llmemb key` writes them."""

from pathlib import Path

from llmemb_service.guard.keys import Role, key_line, make_key


def add_key(path: Path, name: str, *roles: Role, rate_limit_per_minute: int | None = None) -> str:
    """Append a new key's line to `path` and return the key."""
    key, entry = make_key(name, roles, rate_limit_per_minute)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{key_line(entry)}\n")
    return key
