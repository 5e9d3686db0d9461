"""Tables, figures, output folder and the one-file HTML report."""
