"""The record of runs: what a result came from, and where it is written."""
