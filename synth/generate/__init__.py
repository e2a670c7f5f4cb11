"""One checked Python generator per pattern: by a language model, by rule, or the user's own."""

from curator import callable_room

callable_room(__name__)
