"""One checked Python generator per pattern: by a language model, by rule, or the user's own."""
