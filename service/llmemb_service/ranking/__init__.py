"""From a history to the next items."""
