"""The snapshot that answers now, changed on the event loop's thread and folded in one of its own."""

import logging
import threading
from collections.abc import Callable, Sequence

from service.catalogue.changes import Change
from service.catalogue.edition import with_changes
from service.catalogue.folding import compacted, extended_segment, is_due, wants_compaction
from service.catalogue.snapshot import Snapshot
from service.sight.metrics import Metrics

FEW_CHANGES = 64
"""So many are taken into a folded snapshot while a change waits."""

logger = logging.getLogger(__name__)


class Head:
    """Holds the present snapshot. Readers take `snapshot` once; every change and every fold is one assignment.

    Args:
        first: the catalogue before any change.
        fold_items: rows beside the index past which they are folded into it.
        metrics: told of folds.
        folded: called after each fold, in its thread.
    """

    def __init__(
        self, first: Snapshot, fold_items: int, metrics: Metrics, folded: Callable[[], object] = lambda: None
    ) -> None:
        self.snapshot = first
        self._first = first
        self._fold_items = fold_items
        self._metrics = metrics
        self._folded = folded
        self._changing = threading.Lock()  # held for no longer than a change takes
        self._generation = 0
        self._since: list[Change] | None = None
        """Changes that came while a snapshot is compacted."""
        self._thread: threading.Thread | None = None
        self._failed_rows = 0
        self._closed = False

    def take(self, changes: Sequence[Change]) -> None:
        """Take changes in."""
        with self._changing:
            self.snapshot = with_changes(self.snapshot, changes)
            if self._since is not None:
                self._since.extend(changes)
            self._fold_if_due()

    def reset(self, changes: Sequence[Change]) -> None:
        """Begin again with the first snapshot, and take these changes in."""
        snapshot = with_changes(self._first, changes)
        with self._changing:
            self.snapshot = snapshot
            self._generation += 1
            self._since = None
            self._failed_rows = 0
            self._fold_if_due()

    def wait_until_folded(self) -> None:
        """Wait for the fold that runs, if one does."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Begin no fold any more, and wait for the one that runs."""
        self._closed = True
        self.wait_until_folded()

    def _is_due(self) -> bool:
        # After a failure another piece must have come together, lest it fail over and over.
        rows = self.snapshot.num_rows - self._failed_rows
        return not self._closed and rows > 0 and is_due(self.snapshot, self._fold_items)

    def _fold_if_due(self) -> None:
        if self._thread is None and self._is_due():
            self._thread = threading.Thread(target=self._fold, name="fold", daemon=True)
            self._thread.start()

    def _fold(self) -> None:
        while True:
            try:
                with self._metrics.fold_seconds.time():
                    self._fold_once()
                self._folded()
            except Exception:
                self._metrics.fold_errors.inc()
                logger.exception("the added items could not be folded into the index; they are searched beside it")
                self._failed_rows = self.snapshot.num_rows + self._fold_items
            with self._changing:
                if not self._is_due():
                    self._thread = None
                    return

    def _fold_once(self) -> None:
        with self._changing:
            snapshot, generation = self.snapshot, self._generation
            compacts = wants_compaction(snapshot)
            self._since = [] if compacts else None
        if compacts:
            self._replay(compacted(snapshot), generation)
            return
        segment = extended_segment(snapshot)
        with self._changing:
            if generation == self._generation:
                self.snapshot = self.snapshot.with_segment(segment)

    def _replay(self, snapshot: Snapshot, generation: int) -> None:
        """Put a compacted snapshot there, with the changes that have come since it was begun."""
        while True:
            with self._changing:
                if generation != self._generation or self._since is None:
                    return
                changes, self._since = self._since, []
                if len(changes) <= FEW_CHANGES:
                    self.snapshot = with_changes(snapshot, changes)
                    self._since = None
                    return
            snapshot = with_changes(snapshot, changes)
