import re

import numpy as np
import pytest
import torch
from host_predictions import PREDICT, detect, paste
from torch.torch_version import TorchVersion

from mmpatchconvnet import PatchConvNet, TransCNN
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.export import compare, export_onnx, make_graph
from mmpatchconvnet.export.check import difference, match, object_differences
from mmpatchconvnet.export.half import to_half
from mmpatchconvnet.export.onnx_file import save, trace
from mmpatchconvnet.export.preprocess import Preprocess
from mmpatchconvnet.export.torch_file import export_torch
from mmpatchconvnet.models.hmhsa import HierarchicalAttention

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

# The trace sees 2 x 136 x 200.
SIZES = [(1, 96, 128), (2, 75, 131), (3, 160, 64)]


def run(path, **inputs):
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    names = {name: x.numpy() for name, x in inputs.items()}
    return [torch.from_numpy(x) for x in session.run(None, names)]


@pytest.mark.cls
@pytest.mark.slow
def test_a_file_gives_what_the_host_gives(build, exported):
    model = build('classifier')
    for batch, *size in SIZES:
        images = torch.randn(batch, 3, *size)
        with torch.no_grad():
            theirs = PREDICT['classifier'](model, images)[0]
        (ours,) = run(exported('classifier'), images=images)
        assert ours.shape == theirs.shape
        assert difference(theirs.numpy(), ours.numpy()) < 1e-4


@pytest.mark.det
@pytest.mark.slow
def test_a_file_with_preprocessing_detects_what_the_host_detects(build, exported):
    model = build('mask_rcnn')
    preprocess = Preprocess(model.data_preprocessor)
    for _, *size in SIZES:
        images, picture = 255 * torch.rand(1, 3, *size), torch.tensor(size) - 7
        with torch.no_grad():
            theirs = detect(model, preprocess(images), picture)
        ours = run(exported('mask_rcnn', True), images=images, size=picture)
        assert len(ours[1]) == len(theirs[1]) == 20
        order = match([x.numpy() for x in theirs], [x.numpy() for x in ours])
        ours = [x[order] for x in ours]
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-3)
        assert (ours[1] == theirs[1]).all()
        torch.testing.assert_close(ours[2], theirs[2], rtol=1e-4, atol=1e-5)
        assert (paste(model, ours, picture) == theirs[3]).float().mean() > 0.999


@pytest.mark.det
@pytest.mark.slow
def test_a_file_without_proposals_finds_nothing(exported):
    images, nothing = torch.randn(1, 3, 96, 128), torch.tensor([0, 0])
    shapes = [
        tuple(x.shape)
        for x in run(exported('mask_rcnn', True), images=images, size=nothing)
    ]
    assert shapes == [(0, 4), (0,), (0,), (0, 28, 28)]


@pytest.mark.cls
def test_half_precision_is_close(build, exported):
    path, model = exported('classifier', fp16=True), build('classifier')
    assert all(row.agreed for row in compare(model, path, tolerance=3e-3))
    assert path.stat().st_size < 0.6 * exported('classifier').stat().st_size
    proto = onnx.load(path)
    floats = {x.type.tensor_type.elem_type for x in proto.graph.input}
    floats |= {x.type.tensor_type.elem_type for x in proto.graph.output}
    assert floats == {onnx.TensorProto.FLOAT}
    halves = [x for x in proto.graph.initializer if x.data_type == 10]
    assert len(halves) > 10


@pytest.mark.det
@pytest.mark.slow
def test_boxes_are_not_computed_in_half_precision(build, exported):
    proto = onnx.load(exported('mask_rcnn', preprocess=True, fp16=True))
    halves = {x.name for x in proto.graph.initializer if x.data_type == 10}
    kinds = set()
    for node in proto.graph.node:
        casts = [x.i for x in node.attribute if x.name == 'to']
        if casts == [10] or (node.op_type != 'Cast' and halves & {*node.input}):
            halves.update(node.output)
            kinds.add(node.op_type)
    assert {'Conv', 'Gemm'} <= kinds or {'Conv', 'MatMul'} <= kinds
    exact = {'Exp', 'Softmax', 'RoiAlign', 'NonMaxSuppression', 'TopK', 'GatherND'}
    assert not kinds & exact, kinds
    images, size = torch.randn(1, 3, 160, 224), torch.tensor([160, 224])
    ours = run(exported('mask_rcnn', True, True), images=images, size=size)
    with torch.no_grad():
        theirs = make_graph(build('mask_rcnn'), preprocess=True)(images, size)
    assert len(ours[1]) == len(theirs[1])
    torch.testing.assert_close(ours[2], theirs[2], rtol=0.01, atol=0.001)


def test_a_file_of_a_column_holds_metadata_and_no_paths(tmp_path):
    torch.manual_seed(0)
    model = PatchConvNet(dict(embed_dims=16, depth=2), out_indices=(0, 1)).eval()
    path = export_onnx(model, tmp_path / 'new' / 'a.onnx', metadata=dict(classes='a b'))
    proto = onnx.load(path)
    onnx.checker.check_model(proto)
    assert [(x.key, x.value) for x in proto.metadata_props] == [('classes', 'a b')]
    assert b'/mmpatchconvnet/' not in path.read_bytes()
    shapes = [
        [dim.dim_param or dim.dim_value for dim in x.type.tensor_type.shape.dim]
        for x in proto.graph.input
    ]
    assert shapes == [['batch', 3, 'height', 'width']]
    assert [x.name for x in proto.graph.output] == ['level0', 'level1']
    assert all(row.agreed for row in compare(model, path))
    # The model itself is not folded.
    assert type(model.blocks[0]).__name__ == 'PatchConvBlock'
    assert all(row.agreed for row in compare(switch_to_deploy(model), path))


def test_a_file_of_hierarchical_attention_takes_any_size(tmp_path):
    torch.manual_seed(0)
    arch = dict(
        embed_dims=(8, 8, 8, 8),
        depths=(1, 1, 1, 1),
        head_dims=4,
        expansions=(1, 1, 1, 1),
        kernel_sizes=(3, 3, 3, 3),
        grid_sizes=(8, 7, 1, 1),
        pool_ratios=(8, 3, 1, 1),
        revised=False,
    )
    # The first release with the norm of the revised one: every layer of the two.
    norm_cfg = dict(type='GN', num_groups=1, eps=1e-6)
    model = TransCNN(arch, out_indices=(0, 1), norm_cfg=norm_cfg).eval()
    for module in model.modules():  # attention that chooses
        if isinstance(module, HierarchicalAttention):
            module.qkv.weight.data *= 5
    graph = make_graph(model)
    proto = trace(graph)
    save(proto, tmp_path / 'a.onnx')
    sizes = [(1, 224, 448), (2, 225, 65), (3, 100, 333)]
    assert all(row.agreed for row in compare(model, tmp_path / 'a.onnx', sizes))
    save(to_half(proto, graph), tmp_path / 'half.onnx')
    rows = compare(model, tmp_path / 'half.onnx', sizes, tolerance=2e-2)
    assert all(row.agreed for row in rows)


def test_another_model_does_not_agree(tmp_path):
    model = PatchConvNet(dict(embed_dims=16, depth=2)).eval()
    path = export_onnx(model, tmp_path / 'a.onnx')
    other = PatchConvNet(dict(embed_dims=16, depth=2)).eval()
    rows = compare(other, path, sizes=[(1, 64, 64)])
    assert [(row.size, row.output, row.agreed) for row in rows] == [
        ((1, 64, 64), 'level0', False)
    ]


def test_objects_are_matched_by_label_box_and_score():
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9], [5, 5, 9, 9]], np.float32)
    labels, scores = np.array([0, 1, 0]), np.array([0.5, 0.5, 0.4], np.float32)
    wanted, order = [boxes, labels, scores], [2, 0, 1]
    given = [x[order] for x in wanted]
    assert match(wanted, given).tolist() == [1, 2, 0]
    assert object_differences(wanted, given, 1e-4) == [0, 0, 0]
    worse = [boxes + np.array([[0], [0], [1]]), labels, scores]
    assert object_differences(wanted, worse, 1e-4) == pytest.approx([1 / 9, 0, 0])
    assert object_differences(wanted, worse, 0.4) == [0, 0, 0]
    fewer = [x[:2] for x in given]
    assert object_differences(wanted, fewer, 1e-4) == [float('inf')] * 3
    assert object_differences(fewer, wanted, 0.4) == [0, 0, 0]
    nothing = [x[:0] for x in given]
    assert object_differences(nothing, nothing, 1e-4) == [0, 0, 0]
    assert object_differences(wanted, nothing, 1e-4) == [float('inf')] * 3
    assert difference(boxes[:0], boxes[:0]) == 0


def test_weights_of_many_bytes_are_next_to_the_file(tmp_path, monkeypatch):
    from mmpatchconvnet.export import onnx_file

    monkeypatch.setattr(onnx_file, 'LARGEST', 1000)
    model = PatchConvNet(dict(embed_dims=16, depth=1)).eval()
    path = export_onnx(model, tmp_path / 'a.onnx')
    assert (tmp_path / 'a.onnx.data').exists()
    assert all(row.agreed for row in compare(model, path))


def test_a_missing_package_is_named(monkeypatch):
    from mmpatchconvnet.export import onnx_file

    monkeypatch.setattr(onnx_file, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r'onnx and onnxscript .*\[export\]'):
        export_onnx(None, 'a.onnx')


@pytest.mark.parametrize(
    ('write', 'installed', 'needed'),
    [(export_onnx, '2.4.1+cpu', '2.5'), (export_torch, '2.5.1', '2.6')],
)
def test_a_torch_that_is_too_old_is_named(write, installed, needed, monkeypatch):
    monkeypatch.setattr(torch, '__version__', TorchVersion(installed))
    expected = re.escape(
        f'torch {installed} is installed, but the export needs {needed}'
    )
    with pytest.raises(ImportError, match=expected):
        write(None, 'a')
