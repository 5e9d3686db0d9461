from . import gas_challenge as gas_challenge
from . import oxygenation as oxygenation
from .signals import OptoacousticSignals as OptoacousticSignals
from .signals import load_signals as load_signals
from . import unmixing as unmixing
