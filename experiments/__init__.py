"""Experiments: each a folder with a configuration, a README with the figures that it gave, and a module to run."""
