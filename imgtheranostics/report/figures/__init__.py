"""Figures of the report: pictures, points and curves; a new one is registered in `registered`."""
