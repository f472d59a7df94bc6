"""Estimators, their fit, and the safe package that a fitted model travels in."""
