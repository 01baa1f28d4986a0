"""Training of supernets, and recalibration of the batch normalisation of the networks taken from them."""
