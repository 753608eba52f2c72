"""Small data sets of synthetic texts; their sizes are multiples of no batch and no number of processes."""

import pytest

from rnnzoo.data.synthetic.names import make_sentences
from rnnzoo.data.synthetic.reviews import make_reviews
from tests.support.data_files import write


SIZES = {"train": 97, "validation": 23, "test": 29}


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """A folder with reviews."""
    made = make_reviews()
    return write(tmp_path_factory.mktemp("data") / "reviews", **{split: made[split][:n] for split, n in SIZES.items()})


@pytest.fixture(scope="session")
def sentences(tmp_path_factory):
    """A folder with tagged sentences."""
    made = make_sentences().rename_column("tags", "ner_tags").select_columns(["tokens", "ner_tags"])
    return write(
        tmp_path_factory.mktemp("data") / "sentences", **{split: made[split][:n] for split, n in SIZES.items()}
    )
