"""Fixtures of the tests of models."""

import pytest

from mmpatchconvnet.compat import processor


@pytest.fixture
def choose_library(monkeypatch):
    """Sets the variable that chooses the library of the products."""

    def choose(name: str) -> None:
        monkeypatch.setenv(processor.VARIABLE, name)
        processor.product_library.cache_clear()

    yield choose
    monkeypatch.undo()
    processor.product_library.cache_clear()
