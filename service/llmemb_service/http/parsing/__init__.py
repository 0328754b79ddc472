"""Convert request bodies to the values that the service works with, and collect every fault with its location."""
