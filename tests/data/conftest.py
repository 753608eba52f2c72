"""What tests of data share: a machine without data and without the Hub."""

import os

import datasets
import huggingface_hub
import pytest


REAL_DATA = os.environ.get("RNNZOO_DATA", "")


@pytest.fixture(autouse=True)
def no_data_no_hub(monkeypatch):
    """Every test starts on a machine without data; both libraries read the variable at import only."""
    monkeypatch.delenv("RNNZOO_DATA", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def real_data(no_data_no_hub, monkeypatch):
    """The real data sets, for tests marked `realdata`."""
    monkeypatch.setenv("RNNZOO_DATA", REAL_DATA)
