"""How large a catalogue is, for the metrics."""

from service.catalogue.snapshot import Snapshot
from service.sight.metrics import Metrics


class CatalogueSizes:
    """The metrics of one bundle's catalogue.

    Args:
        metrics: shows them.
        bundle_id: whose they are.
    """

    def __init__(self, metrics: Metrics, bundle_id: str) -> None:
        self._metrics = metrics
        self._bundle_id = bundle_id

    def show(self, snapshot: Snapshot, pending: int, left_out: int) -> None:
        """Show what the catalogue holds now."""
        metrics, bundle_id = self._metrics, self._bundle_id
        metrics.catalogue_items.labels(bundle_id, "bundle").set(len(snapshot) - snapshot.num_added)
        metrics.catalogue_items.labels(bundle_id, "added").set(snapshot.num_added)
        metrics.pending_items.labels(bundle_id).set(pending)
        metrics.left_out_items.labels(bundle_id).set(left_out)
        metrics.fresh_rows.labels(bundle_id).set(snapshot.num_rows - len(snapshot.segment))
        metrics.hidden_rows.labels(bundle_id).set(len(snapshot.visibility.hidden))

    def forget(self) -> None:
        """Show them no more."""
        for source in ("bundle", "added"):
            self._metrics.catalogue_items.remove(self._bundle_id, source)
        metrics = self._metrics
        for gauge in (metrics.pending_items, metrics.left_out_items, metrics.fresh_rows, metrics.hidden_rows):
            gauge.remove(self._bundle_id)
