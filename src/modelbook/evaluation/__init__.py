"""What a model is worth: metrics, verdict, plots and the report."""
