from .signals import OptoacousticSignals as OptoacousticSignals
from .signals import load_signals as load_signals
