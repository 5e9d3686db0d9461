"""Studies: many subjects, and an honest answer to how uptake goes with outcome."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
