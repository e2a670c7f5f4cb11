"""A pattern and its language: fields, what comes back, the search of a template in a text, the registry of patterns."""
