"""Phantoms: images with a known answer, made from the review's own parameters."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
