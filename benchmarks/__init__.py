"""Measurements of ours beside others, each by one command: `make bench`."""
