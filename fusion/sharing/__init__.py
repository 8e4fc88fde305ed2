"""Several networks that share factors: read as towers over the same features, stacked, decomposed together."""
