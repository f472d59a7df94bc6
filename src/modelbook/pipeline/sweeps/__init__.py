"""Sweeps: the same run with many settings."""
