"""From a source to validated, divided tables."""
