"""Training of any model with a Hugging Face forward, for `pip install rnnzoo[train]`."""
