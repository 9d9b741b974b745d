"""Strict initialization: a checkpoint in `init_cfg` must fit."""

from collections.abc import Iterable, Sequence
from functools import partial

from mmengine.model import BaseModule, PretrainedInit, initialize, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from mmpatchconvnet.checkpoints import load_weights, read_weights


class StrictModule(BaseModule):
    """mmengine's module, but a `Pretrained` checkpoint that does not fit is an error.

    This holds for all forms of `init_cfg`: a dict, a list of dicts, and an `override`
    for a part of the module. mmengine only logs the keys that differ.
    """

    init_cfg: dict | list[dict] | None
    # A pattern of keys that a checkpoint may hold and the module may lack.
    optional_keys: str | None = None

    def check_weights(self, path: str, keys: Iterable[str]) -> None:
        """Raise if the keys of a checkpoint show that it is of another model.

        For subclasses that can name it; whether the keys fit is checked afterwards.
        """

    def fit_weights(self, path: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights to load instead of those of a checkpoint, for related models.

        For subclasses; they log what they leave out and what is new.
        """
        return weights

    def init_weights(self) -> None:
        """Initialize as `init_cfg` says, from checkpoints last, as mmengine does.

        Raises:
            CheckpointError: Keys or shapes of a checkpoint are not those of the module.
        """
        if self.is_init:
            super().init_weights()  # warns
            return
        given = self.init_cfg
        settings = strict_settings(given or [])
        pretrained = [one for one in settings if one.get('type') is StrictPretrained]
        self.init_cfg = [
            one for one in settings if one.get('type') is not StrictPretrained
        ]
        try:
            super().init_weights()
        finally:
            self.init_cfg = given
        initialize(self, pretrained)


class StrictPretrained(PretrainedInit):
    """mmengine's `Pretrained` with the same arguments; keys and shapes must fit."""

    def __call__(self, module: nn.Module) -> None:
        prefix = f'{self.prefix.rstrip(".")}.' if self.prefix else ''
        optional = getattr(module, 'optional_keys', None)  # an override is any module
        content = read_weights(self.checkpoint)
        fit = None
        if isinstance(module, StrictModule):
            module.check_weights(self.checkpoint, content)
            fit = partial(module.fit_weights, self.checkpoint)
        load_weights(module, self.checkpoint, prefix, optional, content, fit)
        if hasattr(module, '_params_init_info'):  # mmengine's log of initializations
            update_init_info(module, init_info=self._get_init_info())


def strict_settings(init_cfg: dict | Sequence[dict]) -> list[dict]:
    """The settings with `StrictPretrained` instead of `Pretrained`, in a list."""
    settings = []
    for one in [init_cfg] if isinstance(init_cfg, dict) else init_cfg:
        one = dict(one)
        kind = one.get('type')
        if isinstance(kind, str):
            kind = WEIGHT_INITIALIZERS.get(kind)
        if kind is PretrainedInit:
            one['type'] = StrictPretrained
        if one.get('override'):
            one['override'] = strict_settings(one['override'])
        settings.append(one)
    return settings
