"""Models of expensive objectives, from few evaluated networks, with uncertainty."""
