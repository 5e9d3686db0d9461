"""Finding regions in images: round inserts of phantoms, lesions by threshold and by gradient."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
