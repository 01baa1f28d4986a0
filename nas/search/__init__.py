"""The search: an Optuna study of networks taken from a supernet."""
