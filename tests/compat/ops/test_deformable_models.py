"""mmdet's stock models with deformable ops compute a loss, its gradient and results."""

import pytest
import torch
from config_files import extend
from mmcv.ops import multi_scale_deform_attn
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from small_models import set_level_embedding
from torch import Tensor

from mmpatchconvnet.experiments.benchmark.batches import batch_of

pytestmark = pytest.mark.det


def narrow(node: object) -> object:
    """A config of few channels and layers, without weights to load."""
    if isinstance(node, dict):
        few = dict.fromkeys({'num_blocks', 'num_layers'} & node.keys(), 1)
        return {key: narrow(node[key]) for key in node if key != 'init_cfg'} | few
    if isinstance(node, (list, tuple)):
        return [narrow(item) for item in node]
    if node in (1000, 2000):  # proposals
        return 100
    return node // 8 if node in (256, 512, 1024, 2048) else node


@pytest.fixture
def attention_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, mmcv computes attention without the op."""

    def attend(value: Tensor, shapes: Tensor, *rest: Tensor) -> Tensor:
        cells = shapes.prod(1)
        starts = cells.cumsum(0) - cells
        function = multi_scale_deform_attn.MultiScaleDeformableAttnFunction
        return function.apply(value, shapes, starts, *rest, 64)

    monkeypatch.setattr(
        multi_scale_deform_attn, 'multi_scale_deformable_attn_pytorch', attend
    )


@pytest.mark.parametrize(
    'name',
    [
        'dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco',
        'dcn/faster-rcnn_r50_fpn_dpool_1x_coco',
        'dcnv2/faster-rcnn_r50-mdconv-group4-c3-c5_fpn_1x_coco',
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco',
        'detectors/cascade-rcnn_r50-sac_1x_coco',
        'dyhead/atss_r50_fpn_dyhead_1x_coco',
        'fcos/fcos_r50-dcn-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco',
        'reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco',
        'tood/tood_r50_fpn_1x_coco',
    ],
)
@pytest.mark.usefixtures('attention_as_on_a_gpu')
def test_it_trains_and_predicts(name: str, tmp_path) -> None:
    cfg = ConfigDict(narrow(extend(f'mmdet::{name}.py', tmp_path).model.to_dict()))
    cfg.backbone.update(base_channels=8, stem_channels=8, frozen_stages=-1)
    if 'positional_encoding' in cfg:
        cfg.positional_encoding.num_feats = 16
        cfg.bbox_head.embed_dims = 32
    MessageHub.get_current_instance().update_info('epoch', 0)  # TOOD reads it
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg)
    set_level_embedding(model)
    batch = model.data_preprocessor(batch_of('mmdet', 2, 96, 96), training=True)

    loss, terms = model.parse_losses(model(**batch, mode='loss'))
    assert all(term.isfinite() for term in terms.values())
    loss.backward()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert any(
        gradient.any()
        for name, gradient in gradients.items()
        if 'offset' in name or 'reppoints' in name or 'reg_offset' in name
    )

    with torch.no_grad():
        results = model.eval()(**batch, mode='predict')
    for result in results:
        assert result.pred_instances.bboxes.isfinite().all()
        assert result.pred_instances.scores.isfinite().all()
