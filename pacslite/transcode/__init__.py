"""Objects in other transfer syntaxes than they were stored in, without losing anything (PS3.5 Annex A)."""
