"""Data sets that this project makes itself, so that everything runs without a network."""
