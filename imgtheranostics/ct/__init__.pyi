from . import hounsfield as hounsfield
from .hounsfield import comparable as comparable
from .hounsfield import require_hu as require_hu
from .hounsfield import saturated as saturated
