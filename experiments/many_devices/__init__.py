"""One supernet, trained once, specialised for many devices; and what a user would do instead."""
