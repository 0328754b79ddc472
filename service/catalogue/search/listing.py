"""Pages of the catalogue: what the full-text index finds, as far as a snapshot still holds it."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.catalogue.catalogue import Catalogue
from service.catalogue.search.search_file import Position
from service.catalogue.snapshot.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Rows of a snapshot, and where the next page begins; None after the last."""

    snapshot: Snapshot
    rows: Sequence[int]
    end: Position | None


async def list_items(catalogue: Catalogue, query: str | None, after: Position, limit: int) -> ItemPage:
    """Return the next page of the items that match a query, or of all items.

    Args:
        catalogue: asked.
        query: any text; None, or a text of blanks alone, lists all items.
        after: where the page before ended.
        limit: the most items of a page.

    Raises:
        NotReadyError: the full-text index is being built.
        OverloadedError: too many searches wait.
    """
    words = query if query and query.strip() else None
    ids: list[str] = []
    end: Position | None = after
    while end is not None and len(ids) < limit:
        wanted = limit - len(ids)
        found = await catalogue.search.find(words, end, wanted + 1)
        end = found[wanted - 1].position if len(found) > wanted else None
        snapshot = catalogue.snapshot
        ids.extend(each.id for each in found[:wanted] if snapshot.row(each.id) is not None)
    snapshot = catalogue.snapshot  # rows of one snapshot only: an item that left meanwhile is left out
    return ItemPage(snapshot, [row for item_id in ids if (row := snapshot.row(item_id)) is not None], end)
