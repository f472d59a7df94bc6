"""Hypothesis without a deadline: two busy cores make the time of one example say nothing."""

from hypothesis import settings

settings.register_profile("house", settings(), deadline=None)
settings.load_profile("house")
