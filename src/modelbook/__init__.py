"""Modelbook: from a table to a model in production, with every experiment on the record."""

__version__ = "0.1.0"
