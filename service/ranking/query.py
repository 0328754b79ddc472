"""What a recommendation is asked with."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmemb.api.recommend import Filters, Strategy
from llmemb.item import Attributes

HistoryEntry = str | Attributes
"""An item's id, or the attributes of an item given inline."""
ANY_AVAILABLE = Filters()


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A history, and what may come after it. Checked: ids and attributes can be used, `k` is at least 1."""

    history: Sequence[HistoryEntry] = ()
    """The oldest entry first; empty: the most popular items come."""
    k: int = 10
    filters: Filters = ANY_AVAILABLE
    exclude_history: bool = True
    """Recommend no item whose id is in the history, however old."""
    explain: bool = False
    strategy: Strategy = "all"
    stored: bool = False
    """The history was kept for a while: ids that the catalogue no longer holds are passed over."""

    @property
    def has_attributes(self) -> bool:
        """Whether an item is given inline, which must be embedded first."""
        return not {*map(type, self.history)} <= {str}
