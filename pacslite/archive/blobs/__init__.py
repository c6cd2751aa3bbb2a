"""Where the bytes of the objects are kept."""
