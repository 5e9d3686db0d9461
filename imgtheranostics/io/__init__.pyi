from .loading import SeriesSummary as SeriesSummary
from .loading import info as info
from .loading import load as load
from .loading import load_all as load_all
from .regions import load_rois as load_rois
from .saving import convert as convert
from .saving import save as save
