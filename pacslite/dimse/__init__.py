"""PS3.7: commands, messages and the shape of a service, without I/O."""
