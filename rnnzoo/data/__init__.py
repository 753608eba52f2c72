"""Where training data comes from, for `pip install rnnzoo[train]`."""
