"""Jobs as rows: what happens to them inside a transaction of the index's writer."""
