"""PET and SPECT: uptake values, injected dose per gram, and time-activity curves."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
