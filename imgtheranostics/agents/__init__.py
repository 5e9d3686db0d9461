"""Nanoparticle records: what a particle carries, how it shows in each modality, and whence each value is."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
