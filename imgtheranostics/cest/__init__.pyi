from . import b0 as b0
from . import bloch_mcconnell as bloch_mcconnell
from . import constants as constants
from . import contrast as contrast
from . import normalisation as normalisation
from . import z_spline as z_spline
from . import zspectrum as zspectrum
