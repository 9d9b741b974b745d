"""Ops that are not provided name themselves and the remedy."""

import pytest
import torch
from mmcv import ops


def test_an_unsupported_op_raises_with_its_name_and_the_remedy() -> None:
    with pytest.raises(NotImplementedError) as error:
        ops.box_iou_rotated(torch.zeros(1, 5), torch.zeros(1, 5))
    message = str(error.value)
    assert 'box_iou_rotated' in message
    assert 'no compiled ops' in message
    assert 'https://mmcv.readthedocs.io' in message


def test_private_names_are_absent() -> None:
    for name in ('__path__', '_anything', 'pytest_plugins'):
        with pytest.raises(AttributeError, match=name):
            getattr(ops.info.ext_module, name)


def test_the_environment_report_works() -> None:
    assert 'torchvision' in ops.get_compiler_version()
    assert isinstance(ops.get_compiling_cuda_version(), str)
