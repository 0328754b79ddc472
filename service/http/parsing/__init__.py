"""From a body's content to values that the use cases take: checked once, every fault collected with its place."""
