"""A built set as training batches: questions become tokens, images tensors, and both stay together."""
