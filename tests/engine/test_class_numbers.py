"""Numbers of classes that a config gives in several places."""

import pytest
from config_files import ROOT, read

from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.engine.config_checks import check_num_classes, check_settings

MASK2FORMER = ROOT / 'configs/demo/mask2former_patchconvnet-tiny_nuclei.py'
SEGMENTOR = ROOT / 'configs/mask2former'


@pytest.mark.det
@pytest.mark.parametrize('part', ['panoptic_head', 'panoptic_fusion_head'])
def test_things_and_stuff_are_the_classes_of_the_data(part):
    cfg = read(MASK2FORMER)
    dataset = cfg.train_dataloader.dataset
    check_num_classes(cfg, dataset, None, 'train_dataloader')
    cfg.model[part].num_stuff_classes = 2
    message = rf'{part}\.num_things_classes \+ num_stuff_classes=3 .* set it to 1'
    with pytest.raises(ConfigError, match=message):
        check_num_classes(cfg, dataset, None, 'train_dataloader')


@pytest.mark.det
@pytest.mark.seg
def test_a_mask2former_has_a_weight_for_each_class_and_none():
    cfg = read(MASK2FORMER)
    check_settings(cfg, ())
    cfg.model.panoptic_head.num_things_classes = 4
    message = r'panoptic_head.loss_cls.class_weight has 2 .*=4: .*\[1.0\] \* 4'
    with pytest.raises(ConfigError, match=message):
        check_settings(cfg, ())
    cfg = read(next(SEGMENTOR.glob('*s60*ade20k*')))
    check_settings(cfg, ())
    cfg.model.decode_head.num_classes = 5
    message = r'decode_head.loss_cls.class_weight has 151 .*num_classes=5'
    with pytest.raises(ConfigError, match=message):
        check_settings(cfg, ())
