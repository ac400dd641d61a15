"""The whole way with the real app and real weights: ask, accept, save, and open again what was saved."""
