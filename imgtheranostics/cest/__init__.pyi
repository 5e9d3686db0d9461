from . import b0 as b0
from . import contrast as contrast
from . import z_spline as z_spline
from . import zspectrum as zspectrum
