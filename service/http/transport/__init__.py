"""One client's connection: what it may send, in what time and size, and how answers are written to it."""
