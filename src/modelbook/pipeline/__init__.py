"""The stages and how they are driven, with DVC or without."""
