from . import fluence as fluence
from . import gas_challenge as gas_challenge
from . import oxygenation as oxygenation
from . import spectra as spectra
from . import unmixing as unmixing
from .signals import OptoacousticSignals as OptoacousticSignals
from .signals import load_signals as load_signals
