"""From raw columns to numbers, fitted on training rows alone."""
