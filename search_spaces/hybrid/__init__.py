"""Networks that mix convolutions with attention and other ways to mix pixels."""
