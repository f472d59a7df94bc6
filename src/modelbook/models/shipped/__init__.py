"""Types of estimators that are our own. Each file travels with the models that use it, so it stands alone."""
