"""Low-rank forms of weight tensors: TensorLy decompositions under a metric, one form per file."""
