"""Synthetic data, so that everything runs on a machine without a network."""
