"""The bundles that answer: one bundle's parts, opened and closed together; which of them answers; whether it does."""
