"""For the tests and the examples in docstrings alike."""

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def no_default_scope():
    """As in a new process: a runner leaves its scope to whatever is built later."""
    DefaultScope._instance_dict = type(DefaultScope._instance_dict)()
