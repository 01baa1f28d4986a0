"""Searches that evaluate hopeless networks on part of the images, against searches that evaluate all on all."""
