"""The archive: blobs, index and ingest. It does not know who is asking."""
