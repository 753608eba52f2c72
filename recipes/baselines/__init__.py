"""Cheap baselines, which answer without pipeline(): how each is loaded from its folder, by model_type."""

from recipes.baselines.tfidf import Tfidf


BASELINES = {"tfidf": Tfidf.load}
