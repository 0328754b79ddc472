"""The error of backup and restore. Requests never raise it, so it is not in `service/llmemb_service/errors.py`."""

from llmemb.errors import LlmembError


class BackupError(LlmembError):
    """A backup that cannot be written, read or restored; names the file and what is wrong."""

    code = "backup"
