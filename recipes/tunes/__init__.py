"""Writes tunes with a language model, and measures them: bars that add up, and bars that are copied."""
