from .making import Phantom as Phantom
from .making import make as make
from .reading import available as available
from .reading import load_spec as load_spec
from .spec import PhantomSpec as PhantomSpec
from .writer import write as write
