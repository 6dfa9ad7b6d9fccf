"""Pure renderers of a finished result, and the one function that writes them. No torch."""
