from .loading import available as available
from .loading import get as get
from .loading import load_file as load_file
from .relaxivity import Relaxivity as Relaxivity
from .schema import Agent as Agent
