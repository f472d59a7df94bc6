"""Recorded results made again, and compared bit by bit."""
