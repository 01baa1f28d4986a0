"""The whole chain on CIFAR-10 for networks that mix kinds of block."""
