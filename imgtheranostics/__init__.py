"""Quantitative image analysis for image-guided nanotheranostics.

Names are loaded when they are first used, so that importing the package costs almost nothing.

>>> import imgtheranostics as it
>>> it.__version__.count(".")
2
"""

import lazy_loader as _lazy

from imgtheranostics._version import VERSION

__version__ = VERSION
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
