"""The data preprocessor of a host as a part of an exported graph."""

from typing import Any

from torch import Tensor, nn

from mmpatchconvnet.export.resizing import pad_to

KNOWN = ('ClsDataPreprocessor', 'DetDataPreprocessor', 'SegDataPreProcessor')


class Preprocess(nn.Module):
    """Channel order, normalization and padding of a host's data preprocessor.

    Args:
        settings: The `data_preprocessor` of a model.

    Raises:
        ValueError: It pads to a fixed size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: Any) -> None:
        super().__init__()
        if type(settings).__name__ not in KNOWN:
            raise ValueError(
                f'{type(settings).__name__} prepares images otherwise than '
                f'{", ".join(KNOWN)}, which can be exported: use one of them.'
            )
        test_cfg = getattr(settings, 'test_cfg', None) or {}  # of mmseg
        if test_cfg.get('size') is not None:
            raise ValueError(
                f'The data preprocessor pads to the fixed size {test_cfg["size"]}, but '
                'an exported graph pads to a multiple only: use size_divisor in its '
                'test_cfg, or preprocess=False.'
            )
        self.swap = bool(
            getattr(settings, '_channel_conversion', False)
            or getattr(settings, 'to_rgb', False)
        )
        self.normalize = bool(getattr(settings, '_enable_normalize', False))
        if self.normalize:
            self.register_buffer('mean', settings.mean.float().clone())
            self.register_buffer('std', settings.std.float().clone())
        if hasattr(settings, 'test_cfg'):
            self.divisor = test_cfg.get('size_divisor') or 1
            self.value = float(settings.pad_val)
        else:
            self.divisor = getattr(settings, 'pad_size_divisor', 1)
            self.value = float(getattr(settings, 'pad_value', 0))

    def forward(self, images: Tensor) -> Tensor:
        """BGR images 0..255 (N, 3, H, W) to what the backbone gets, padded."""
        if self.swap:
            images = images.flip(1)
        if self.normalize:
            images = (images - self.mean) / self.std
        if self.divisor == 1:
            return images
        # ONNX divides towards zero, so no number may be negative.
        most = self.divisor - 1
        height, width = (
            (n + most) // self.divisor * self.divisor for n in images.shape[2:]
        )
        return pad_to(images, height, width, most, self.value)
