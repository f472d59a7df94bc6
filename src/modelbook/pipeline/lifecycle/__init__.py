"""Versions on their way to production and back."""
