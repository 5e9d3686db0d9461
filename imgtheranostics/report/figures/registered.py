"""The figures of the report, registered in reading order when this module is imported."""

from __future__ import annotations

from imgtheranostics.report.figures import curves, known_values, mosaic, points, uncertainty
from imgtheranostics.report.registry import FigureMaker, register

register(FigureMaker("map", "{}: where it is", mosaic.keys, mosaic.draw))
register(FigureMaker("regions", "{}: how much, by region", points.keys, points.draw))
register(FigureMaker("known", "{}: measured and known", known_values.keys, known_values.draw))
register(FigureMaker("curves", "{} over time", curves.keys, curves.draw))
register(FigureMaker("curves-log", "{} over time, logarithmic", curves.log_keys, curves.draw_log))
register(FigureMaker("uncertainty", "{}: how sure, voxel by voxel", uncertainty.keys, uncertainty.draw))
