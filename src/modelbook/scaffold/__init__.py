"""What  lays down."""
