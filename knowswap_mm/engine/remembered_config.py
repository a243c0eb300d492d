"""A config that is formatted once."""

from __future__ import annotations

from mmengine.config import Config

_LIMIT = 16
_texts: dict[str, str] = {}


class RememberedConfig(Config):
    """mmengine's ``Config``, whose text is formatted anew only when its contents have changed.

    The text is part of each checkpoint and of several files of a run. Formatting that of a detector
    takes seconds, as long as many steps.
    """

    @classmethod
    def adopt(cls, config: Config) -> Config:
        """Make a config one of this class, in place.

        Args:
            config (Config): The config.

        Returns:
            Config: The same object.
        """
        # A config takes what is set on it for a key of its own.
        object.__setattr__(config, '__class__', cls)
        return config

    @property
    def pretty_text(self) -> str:
        """The config as Python code."""
        contents = repr(self.to_dict())
        if contents not in _texts:
            while len(_texts) >= _LIMIT:
                del _texts[next(iter(_texts))]
            _texts[contents] = super().pretty_text
        return _texts[contents]
