"""The whole chain on CIFAR-10."""
