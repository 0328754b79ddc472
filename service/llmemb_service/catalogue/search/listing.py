"""Pages of the catalogue: results of the full-text index that are still in the snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmemb_service.catalogue.catalogue import Catalogue
from llmemb_service.catalogue.search.search_file import Position
from llmemb_service.catalogue.snapshot.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Rows of a snapshot, and the position where the page ends; None for the last page."""

    snapshot: Snapshot
    rows: Sequence[int]
    end: Position | None


async def list_items(catalogue: Catalogue, query: str | None, after: Position, limit: int) -> ItemPage:
    """Return the next page of the items that match a query, or of all items.

    Args:
        catalogue: has the items.
        query: any text; None or blank text lists all items.
        after: the end of the previous page.
        limit: maximum number of items of a page.

    Raises:
        NotReadyError: the full-text index is being built or has failed.
        OverloadedError: too many searches are waiting.
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
    snapshot = catalogue.snapshot  # all rows must be of one snapshot, so items removed meanwhile are dropped
    return ItemPage(snapshot, [row for item_id in ids if (row := snapshot.row(item_id)) is not None], end)
