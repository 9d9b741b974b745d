"""Any picture that a pipeline reads, as one that can be shown."""

import numpy as np

Array = np.ndarray


def to_display(values: Array, reverse: bool = False) -> Array:
    """Pixels as 8-bit colours.

    Values of more than 8 bits are scaled so that the darkest becomes black and all but
    the brightest 0.5 % fit; of more than three channels the first three are shown, of
    two the first.

    Args:
        values: (H, W) or (H, W, C) of any number or bool.
        reverse: Whether colours are BGR.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: The values have another shape.

    Example:
        >>> to_display(np.array([[0, 4095]], np.uint16)).tolist()
        [[[0, 0, 0], [255, 255, 255]]]
    """
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or not values.size:
        raise ValueError(f'a picture has the shape {values.shape}: give (H, W, C)')
    if values.shape[2] < 3:
        values = values[..., [0, 0, 0]]
    else:
        values = values[..., 2::-1] if reverse else values[..., :3]
    if values.dtype == np.bool_:
        values = values * np.uint8(255)
    if values.dtype != np.uint8:
        values = _scaled(values.astype(np.float32))
    return np.ascontiguousarray(values)


def _scaled(values: Array) -> Array:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    low, high = finite.min(), np.percentile(finite, 99.5)
    scale = 255 / (high - low) if high > low else 0
    scaled = np.nan_to_num((values - low) * scale, posinf=255, neginf=0)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
