"""Hybrid small language models on books: the whole chain, and its networks against baselines trained alone."""
