"""Registration of volumes with SimpleITK: transforms, resampling, and the motion of a series."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
