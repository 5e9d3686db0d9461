from . import bolus_models as bolus_models
from . import curves as curves
from .echo_scale import clipped as clipped
from .echo_scale import linearise as linearise
from .enhancement_table import enhancement as enhancement
from .tissue_area import area_mm2 as area_mm2
from .tissue_area import crop as crop
from .tissue_area import tissue_mask as tissue_mask
