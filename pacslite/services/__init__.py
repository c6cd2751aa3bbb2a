"""The DIMSE services of PS3.4, each an async stream of responses."""
