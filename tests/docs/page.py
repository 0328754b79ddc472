"""A page of the documentation as data: its fenced blocks, in order, and what it says about running each.

A comment on the line before a block, which no reader sees, says what else than running it to its end is meant:

- `<!-- not run: WHY -->`: it takes long, needs Docker, or something of the kind.
- `<!-- runs on, once it says: WORDS -->`: a server, which goes on beside the rest of the page.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
)

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\n\Z")
_RUNS_ON = re.compile(r"<!-- runs on, once it says: (.+) -->\n\Z")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str
    title: str | None
    """The file that the block is the content of."""
    not_run: str | None
    """Why it is not run."""
    runs_on: str | None
    """What a server prints when it is ready."""

    @property
    def place(self) -> str:
        """Where the block is, for messages."""
        return f"{self.page}, line {self.line}"


def blocks_of(page: str, text: str) -> list[Block]:
    """Return the fenced blocks of a page's Markdown."""
    blocks = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        language, _, options = match["info"].partition(" ")
        not_run, runs_on, title = _NOT_RUN.search(before), _RUNS_ON.search(before), _TITLE.search(options)
        blocks.append(
            Block(
                page=page,
                line=before.count("\n") + 1,
                language=language,
                text=match["text"],
                title=title and title[1],
                not_run=not_run and not_run[1],
                runs_on=runs_on and runs_on[1],
            )
        )
    return blocks


def read_blocks(page: str) -> list[Block]:
    """Return the blocks of a page by its path in the repository."""
    return blocks_of(page, (ROOT / page).read_text(encoding="utf-8"))
