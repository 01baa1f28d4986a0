"""Hybrid small language models: mixers of tokens, feed-forward layers, and the space of their combinations."""
