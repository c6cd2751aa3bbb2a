"""What is known of the objects, in SQLite."""
