"""How long the evaluation of one network takes."""
