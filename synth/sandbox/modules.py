"""What generated code may import, and which names of it.

The kernel's locks do not depend on this list. It keeps honest code honest: no clock, no randomness besides ``rng``,
and nothing that takes the name of an attribute, or code, as a string: with those, any object leads to any other.
That is why ``copy``, ``enum`` and ``types`` are missing, and so much of ``functools`` and ``typing``; ``dataclasses``
is our own (``records.py``), and ``datetime`` has no clock (``still.py``). Used on both sides, and so with no imports.
"""

ALLOWED = (
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "collections",
    "collections.abc",
    "dataclasses",
    "datetime",
    "decimal",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "html",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "statistics",
    "string",
    "textwrap",
    "typing",
    "unicodedata",
    "uuid",
    "zlib",
)
"""Modules that may be imported, as facades of their public names."""

OFFERED: dict[str, tuple[str, ...]] = {
    "__future__": ("annotations",),
    "dataclasses": ("dataclass", "field", "KW_ONLY", "FrozenInstanceError"),
    "functools": ("cache", "cmp_to_key", "lru_cache", "partial", "reduce", "total_ordering"),
    "string": (
        "Template",
        "ascii_letters",
        "ascii_lowercase",
        "ascii_uppercase",
        "capwords",
        "digits",
        "hexdigits",
        "octdigits",
        "printable",
        "punctuation",
        "whitespace",
    ),
    "typing": (
        "Any",
        "Callable",
        "ClassVar",
        "Counter",
        "DefaultDict",
        "Deque",
        "Dict",
        "Final",
        "FrozenSet",
        "Generator",
        "Generic",
        "Iterable",
        "Iterator",
        "List",
        "Literal",
        "Mapping",
        "MutableMapping",
        "NamedTuple",
        "NoReturn",
        "Optional",
        "Sequence",
        "Set",
        "TYPE_CHECKING",
        "Text",
        "Tuple",
        "Type",
        "TypeVar",
        "Union",
        "cast",
    ),
    "uuid": ("NAMESPACE_DNS", "NAMESPACE_OID", "NAMESPACE_URL", "NAMESPACE_X500", "UUID", "uuid3", "uuid5"),
}
"""Modules of which only these names are offered; of the others, all public names but modules and those below."""

WITHHELD: dict[str, tuple[str, ...]] = {
    "calendar": ("main", "LocaleHTMLCalendar", "LocaleTextCalendar"),
    "hashlib": ("file_digest", "algorithms_available", "algorithms_guaranteed"),
    "operator": ("attrgetter", "methodcaller"),
    "unicodedata": ("unidata_version",),
    "zlib": ("ZLIB_RUNTIME_VERSION", "ZLIB_VERSION"),
}
"""What leads further, or tells one machine from another."""

LATE = (
    ("\\N{", ("unicodedata",)),
    ("code(", ("encodings.cp1252", "encodings.latin_1", "encodings.utf_16", "encodings.utf_32")),
    ("datetime", ("time",)),
    ("most_common", ("heapq",)),
    ("namereplace", ("unicodedata",)),
    ("statistics", ("heapq",)),
    ("strptime", ("_strptime",)),
    ("uuid3", ("hashlib",)),
    ("uuid5", ("hashlib",)),
)
"""What Python imports on its own when a source that holds these characters runs, when no file can be opened."""
