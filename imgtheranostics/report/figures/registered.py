"""The figures of the reports, registered in reading order when this module is imported."""

from __future__ import annotations

from imgtheranostics.report.figures import (
    activity_fits,
    agreement,
    asymmetry,
    before_after,
    checkerboard,
    component_overlay,
    component_spectra,
    corrected_image,
    curves,
    depth_curves,
    detection,
    dose_volume,
    echo_change,
    fit_maps,
    fitted_curves,
    image_slices,
    kinetic_fits,
    kinetic_plots,
    known_values,
    lesion_views,
    mosaic,
    pair_activity,
    partial_volume,
    points,
    recovery,
    retention,
    triptych,
    uncertainty,
    water_map,
)
from imgtheranostics.report.registry import FigureMaker, register, register_comparison

register(FigureMaker("retention", "What is retained", retention.keys, retention.draw))
register(FigureMaker("before-after", "{}: before and after", before_after.keys, before_after.draw))
register(FigureMaker("corrected", "{}: before and after", corrected_image.keys, corrected_image.draw))
register(FigureMaker("image", "The image", image_slices.keys, image_slices.draw))
register(FigureMaker("components", "Components together", component_overlay.keys, component_overlay.draw))
register(FigureMaker("echo-change", "{}: before and after", echo_change.keys, echo_change.draw))
register(FigureMaker("dvh", "{}: how much of each region", dose_volume.keys, dose_volume.draw))
register(FigureMaker("lesions", "{}: lesions, close up", lesion_views.keys, lesion_views.draw))
register(FigureMaker("map", "{}: where it is", mosaic.keys, mosaic.draw))
register(FigureMaker("recovery-regions", "{}: what was recovered", partial_volume.keys, partial_volume.draw))
register(FigureMaker("regions", "{}: how much, by region", points.keys, points.draw))
register(FigureMaker("detection", "{}: what is detected", detection.keys, detection.draw))
register(FigureMaker("known", "{}: measured and known", known_values.keys, known_values.draw))
register(FigureMaker("curves", "{}: curves", curves.keys, curves.draw))
register(FigureMaker("curves-log", "{}: curves, logarithmic", curves.log_keys, curves.draw_log))
register(FigureMaker("activity-fits", "{}: curves and fits", activity_fits.keys, activity_fits.draw))
register(FigureMaker("kinetic-fits", "{}: curves and models", kinetic_fits.keys, kinetic_fits.draw))
register(FigureMaker("kinetic-plots", "{}: the plot", kinetic_plots.keys, kinetic_plots.draw))
register(FigureMaker("pair", "{}: the carrier and its therapy", pair_activity.keys, pair_activity.draw))
register(FigureMaker("fit", "{}: value, error and flags", fit_maps.keys, fit_maps.draw))
register(FigureMaker("asymmetry", "{}: Z-spectra and asymmetry", asymmetry.keys, asymmetry.draw))
register(
    FigureMaker(
        "spectra", "Spectra of components and regions", component_spectra.keys, component_spectra.draw
    )
)
register(FigureMaker("depth", "Signal and components with depth", depth_curves.keys, depth_curves.draw))
register(FigureMaker("fitted-curves", "{}: measured and fitted", fitted_curves.keys, fitted_curves.draw))
register(FigureMaker("water", "{}: where water was", water_map.keys, water_map.draw))
register(FigureMaker("alignment", "{}: how the scans fit", checkerboard.keys, checkerboard.draw_run))
register(FigureMaker("uncertainty", "{}: how sure, voxel by voxel", uncertainty.keys, uncertainty.draw))

register_comparison(FigureMaker("agreement", "Difference from the truth", agreement.keys, agreement.draw))
register_comparison(FigureMaker("recovery", "Recovery of spheres", recovery.keys, recovery.draw))
register_comparison(FigureMaker("triptych", "{}", triptych.keys, triptych.draw))
