"""Loading and saving."""
