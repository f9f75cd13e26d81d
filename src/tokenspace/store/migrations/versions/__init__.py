"""One file for each change of the schema, oldest first; a released one is never edited."""
