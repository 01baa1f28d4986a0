"""Few-shot latency prediction on published tables."""
