"""A local page: drop a picture, see what the model finds, download it as JSON.

Only this computer can reach it. Uploads are decoded as pictures and never stored.
"""

import base64
import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np

from mmpatchconvnet.inference.pictures import Picture, PictureError, decode_picture
from mmpatchconvnet.inference.predictor import Predictor
from mmpatchconvnet.inference.results import (
    Classification,
    Detection,
    Result,
    Segmentation,
)
from mmpatchconvnet.mask_crops import MaskCrop

Array = np.ndarray
PAGE = Path(__file__).with_name('page.html')
ADDRESS = '127.0.0.1'
LARGEST_UPLOAD = 100 * 2**20  # bytes
LONGEST_SIDE = 1600  # pixels of the picture that is shown
# The page may run its own script and call back, and load nothing from anywhere.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'"
)


class Server(ThreadingHTTPServer):
    """Serves the page of one model.

    Args:
        predictor: The model.
        port: A free port; 0 chooses one.
        scale: Stored values that become black and white; see `read_picture`.

    Attributes:
        url: The address of the page.

    Raises:
        OSError: The port is taken.
    """

    daemon_threads = True

    def __init__(
        self,
        predictor: Predictor,
        port: int = 0,
        scale: tuple[float, float] | None = None,
    ) -> None:
        super().__init__((ADDRESS, port), Handler)
        self.predictor, self.scale, self.lock = predictor, scale, Lock()
        self.url = f'http://{ADDRESS}:{self.server_port}/'

    def predict(self, data: bytes, name: str) -> dict[str, Any]:
        """What the page shows for the content of a picture file.

        Raises:
            ValueError: It cannot be read, or the model cannot take it.
            MemoryError: The device has too little memory.
        """
        picture = decode_picture(data, name, self.scale)
        with self.lock:  # one picture at a time
            ((_, result),) = self.predictor.predict([picture])
        if isinstance(result, PictureError):
            raise result
        return dict(found_in(result), shown=shown(picture), **size_of(picture.image))


class Handler(BaseHTTPRequestHandler):
    """Handles GET / and POST /predict, whose body is a picture file."""

    server: Server

    def do_GET(self) -> None:
        if not self._is_local():
            self._send(HTTPStatus.FORBIDDEN, dict(error='only local requests'))
        elif self.path != '/':
            self._send(HTTPStatus.NOT_FOUND, dict(error='there is only one page'))
        else:
            predictor = self.server.predictor
            about = dict(
                task=predictor.kind.__name__,
                classes=list(predictor.classes),
                palette=predictor.palette,
            )
            # "</script>" in a name would end the script.
            text = json.dumps(about, default=list).replace('<', '\\u003c')
            page = PAGE.read_text('utf-8').replace('/*ABOUT*/', text)
            self._write(HTTPStatus.OK, 'text/html; charset=utf-8', page.encode())

    def do_POST(self) -> None:
        length = self.headers.get('Content-Length', '')
        kind = self.headers.get('Content-Type')
        # Another site may not send this type without asking, and is refused.
        if not self._is_local() or kind != 'application/octet-stream':
            self._refuse(
                HTTPStatus.FORBIDDEN,
                'only this page may send pictures, as application/octet-stream',
            )
            return
        if self.path != '/predict' or not length.isdigit():
            self._refuse(HTTPStatus.BAD_REQUEST, 'send a picture file to /predict')
            return
        if int(length) > LARGEST_UPLOAD:
            megabytes, most = int(length) >> 20, LARGEST_UPLOAD >> 20
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f'the file has {megabytes} MB, but this page takes {most}: use '
                'mmpatchconvnet predict without --serve for it.',
            )
            return
        name = Path(unquote(self.headers.get('X-File-Name', 'picture'))).name
        data = self.rfile.read(int(length))
        try:
            response = self.server.predict(data, name)
        except (ValueError, MemoryError) as error:
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, dict(error=str(error)))
        else:
            self._send(HTTPStatus.OK, dict(response, file=name))

    def _is_local(self) -> bool:
        """Whether the page was opened under a name of this computer.

        Otherwise a name of another site could point to this address.
        """
        host, _, _ = self.headers.get('Host', '').rpartition(':')
        return host in (ADDRESS, 'localhost')

    def _refuse(self, status: HTTPStatus, error: str) -> None:
        """Send an error without reading the body."""
        self.close_connection = True
        self._send(status, dict(error=error))

    def _send(self, status: HTTPStatus, content: dict) -> None:
        body = json.dumps(content, allow_nan=False, default=float).encode()
        self._write(status, 'application/json', body)

    def _write(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Content-Security-Policy', POLICY)
        self.send_header('X-Content-Type-Options', 'nosniff')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Requests are not logged."""


def found_in(result: Result) -> dict[str, Any]:
    """A result as numbers and texts for JSON."""
    if isinstance(result, Classification):
        return dict(scores=result.scores.astype(float).round(4).tolist())
    if isinstance(result, Segmentation):
        small = reduced(result.label_map, cv2.INTER_NEAREST)
        counts = np.bincount(result.label_map.ravel())
        shares = {
            label: round(count / result.label_map.size, 4)
            for label, count in enumerate(counts.tolist())
            if count
        }
        return dict(label_map=small.tolist(), shares=shares)
    return dict(objects=objects_in(result) if isinstance(result, Detection) else [])


def objects_in(result: Detection) -> list[dict[str, Any]]:
    """The objects, by falling score; those of a model of masks have outlines."""
    objects: list[dict[str, Any]] = [
        dict(
            label=int(label),
            score=round(float(score), 4),
            box=np.round(box.astype(float), 2).tolist(),
        )
        for label, score, box in zip(
            result.labels, result.scores, result.boxes, strict=True
        )
    ]
    for one, crop in zip(objects, result.crops or (), strict=False):
        one.update(area=crop.area, outlines=outlines(crop))
    return objects


def outlines(crop: MaskCrop) -> list[list[int]]:
    """The borders of a mask: x and y of their pixels, one after the other."""
    found: Any
    found, _ = cv2.findContours(
        crop.mask.astype(np.uint8),
        cv2.RETR_CCOMP,
        cv2.CHAIN_APPROX_SIMPLE,
        offset=(crop.x, crop.y),
    )
    return [border.ravel().tolist() for border in found]


def shown(picture: Picture) -> str:
    """The picture for the page, as a data URL."""
    small = reduced(picture.image, cv2.INTER_AREA)
    _, encoded = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return f'data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}'


def reduced(image: Array, how: int) -> Array:
    """An image or label map with sides of at most `LONGEST_SIDE`."""
    height, width = image.shape[:2]
    scale = min(1, LONGEST_SIDE / max(height, width))
    if scale == 1:
        return image
    size = max(1, round(scale * width)), max(1, round(scale * height))
    return cv2.resize(image, size, interpolation=how)


def size_of(image: Array) -> dict[str, int]:
    height, width = image.shape[:2]
    return dict(height=height, width=width)
