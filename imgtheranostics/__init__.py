"""Quantitative image analysis for image-guided nanotheranostics.

>>> import imgtheranostics as it
>>> it.__version__.count(".")
2
"""

from imgtheranostics._version import VERSION

__version__ = VERSION

__all__ = ["__version__"]
