"""The standard's vocabulary: values, tags, UIDs, headers and files, pure (PS3.5, PS3.6, PS3.10)."""
