"""Whether the accuracies that a supernet gives its networks rank them as training each alone does."""
