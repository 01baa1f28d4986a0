"""Differentiable search: a distribution over networks that is trained by gradient descent beside their weights."""
