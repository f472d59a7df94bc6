"""Constants taken out of fitted models, so that they are served without their code."""
