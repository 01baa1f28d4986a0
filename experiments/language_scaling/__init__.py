"""Loss of language models as a function of their shape, and its trade-off with the roofline latency of a device."""
