"""Generated constant tables with their source and licence."""
