"""Registered versions, locally and in MLflow, and how they are loaded."""
