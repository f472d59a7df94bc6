"""Models as constants: what answers without scikit-learn, pandas or a line of the model's own code."""
