"""Benchmarks against other libraries, each with one command: `make bench`."""
