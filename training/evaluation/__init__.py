"""Ranks of targets and the figures made of them, with intervals, tests, and the baselines that train nothing."""
