"""Files of exported graphs, and what runs them: ONNX Runtime or PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
ENDINGS = ('.onnx', '.pt2')


def open_file(path: str | Path, device: str | None = None) -> 'OnnxFile | TorchFile':
    """Open an exported file by its ending.

    Raises:
        ValueError: What runs it is missing or has no such device, or the file cannot
            be read.
    """
    if not Path(path).is_file():
        raise ValueError(f'{path} is not a file: give an exported model.')
    kind = TorchFile if Path(path).suffix == '.pt2' else OnnxFile
    return kind(path, device)


class OnnxFile:
    """A file of `--format onnx`, run by ONNX Runtime.

    Attributes:
        metadata: The texts that the file holds.
    """

    def __init__(self, path: str | Path, device: str | None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ValueError(
                f'{path} needs ONNX Runtime: install it with pip install onnxruntime.'
            ) from None
        name = 'CUDAExecutionProvider'
        has_gpu = name in onnxruntime.get_available_providers()
        device = None if device in ('cpu', 'cpu:0') else device or 'gpu'
        if device not in (None, 'gpu') and not (has_gpu and device.startswith('cuda')):
            raise ValueError(
                f'device={device} cannot be used by ONNX Runtime here: give cpu, or '
                'install onnxruntime-gpu.'
            )
        _, _, number = (device or '').partition(':')
        use_gpu = has_gpu and device is not None
        gpu = [(name, dict(device_id=number or '0'))] if use_gpu else []
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        # Waiting threads must not spin: other programs share the cores.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=[*gpu, 'CPUExecutionProvider']
            )
        except Exception as error:  # of a kind that ONNX Runtime does not export
            raise unreadable(path, 'ONNX Runtime', error) from None
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map

    def run(self, inputs: dict[str, Array]) -> list[Array]:
        """The outputs of the graph."""
        return self.session.run(None, inputs)


class TorchFile:
    """A file of `--format torch`, which PyTorch loads.

    It contains compiled code: open only files that you trust.

    Attributes:
        metadata: The texts that the file holds.
    """

    def __init__(self, path: str | Path, device: str | None) -> None:
        if device not in (None, 'cpu', 'cpu:0'):
            raise ValueError(
                f'device={device} is given for {path}, which was compiled for a CPU: '
                'leave it out.'
            )
        try:
            import torch
        except ImportError:
            raise ValueError(
                f'{path} needs PyTorch: install it, or export with --format onnx.'
            ) from None
        try:
            self.package: Any = torch._inductor.aoti_load_package(str(path))
        except Exception as error:  # of many kinds
            raise unreadable(path, 'PyTorch', error) from None
        self.metadata: dict[str, str] = self.package.get_metadata()

    def run(self, inputs: dict[str, Array]) -> list[Array]:
        """The outputs of the graph."""
        import torch

        tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in inputs.values()]
        with torch.inference_mode():
            return [output.numpy() for output in self.package(*tensors)]


def unreadable(path: str | Path, reader: str, error: Exception) -> ValueError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ValueError(f'{path} cannot be read by {reader} ({reason}): export it again.')
