"""Every error the project raises on purpose.

    LlmembError
    ├── InvalidItemError       an item's id or attributes cannot be used
    ├── UnknownItemError       ids that the catalogue does not hold
    ├── EncoderError           a language model that cannot be loaded
    ├── BundleError            a bundle that cannot be written or read
    │   ├── BundleCorruptError     a file is missing or changed
    │   └── BundleVersionError     another format version
    ├── DataError              source data that cannot be used
    ├── ConfigError            a setting or configuration that cannot be used
    └── RunError               a run folder that cannot be used now

The core knows no HTTP: the service maps these to statuses in `service/llmemb_service/problems.py`.
"""

from collections.abc import Sequence
from typing import ClassVar


class LlmembError(Exception):
    """What is wrong, where, and what was expected, in one sentence."""

    code: ClassVar[str] = "error"


class InvalidItemError(LlmembError):
    """An item's id or attributes cannot be used.

    `location` is the path of the fault inside the item, such as `attributes.title`.
    """

    code = "invalid_item"

    def __init__(self, location: str, message: str) -> None:
        super().__init__(f"{location}: {message}")
        self.location = location
        self.message = message


class UnknownItemError(LlmembError):
    """Ids that the catalogue does not hold."""

    code = "unknown_item"

    def __init__(self, item_ids: Sequence[str]) -> None:
        shown = ", ".join(repr(item_id) for item_id in item_ids[:10])
        more = f" and {len(item_ids) - 10} more" if len(item_ids) > 10 else ""
        super().__init__(f"not in the catalogue: {shown}{more}")
        self.item_ids = list(item_ids)


class EncoderError(LlmembError):
    """A language model that cannot be loaded, or an option it does not have."""

    code = "encoder"


class BundleError(LlmembError):
    """A bundle that cannot be written or read."""

    code = "bundle"


class BundleCorruptError(BundleError):
    """A file of the bundle is missing or differs from what the manifest says."""

    code = "bundle_corrupt"


class BundleVersionError(BundleError):
    """The bundle has a format version that this program does not read."""

    code = "bundle_version"


class DataError(LlmembError):
    """Source data that cannot be used; names the file and the line."""

    code = "data"


class ConfigError(LlmembError):
    """A configuration or setting that cannot be used; names the key."""

    code = "config"


class RunError(LlmembError):
    """A run folder that cannot be used now: another process holds it, or a step it needs has not run."""

    code = "run"
