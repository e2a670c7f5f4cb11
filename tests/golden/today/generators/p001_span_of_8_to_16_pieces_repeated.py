RECURRENCE = [
    (['a', 'a', 'a', 'a', 'a', 'a', 'a'], [[[0, '\n', 1, ' ', 2, 3, 4, '\n   ', 5, 6, '_', '_']]]),
    (['a', 'a', 'a'], [[['#', 0, 1, '\n', ' ', '\n', 2, ' ']], [['#', 0, 1, '\n', ' ', '\n', 2, ' ']], [['#', 0, 1, '\n', ' ', '\n', 2, ' ']]]),
    (['A', 'A', 'A', 'A', '0', 'A', 'A', 'A', 'A', 'A'], [[[0, 1, 1, ' ', 2, 3, 4, 4, 1, 5, ',', 6, 7, 8, 9, ' #']]]),
    (['A', 'A', 'A', 'A', ' A', 'A'], [[[0, 1, 2, 3, ' ', ' #', 4, 3, 5, ' ']], [[0, 1, 2, 3, ' ', ' #', 4, 3, 5, ' ']]]),
    (['a', 'a', 'a', 'a', 'a', 'a', 'a'], [[[0, '.', 1, 2, " '", 3, 4, 5, '        ', 6, 6, ';']]]),
    (['A', '0', 'A', 'A', 'A', 'A', 'A'], [[[0, 1, 2, '>', 3, 4, 5, 6, ' ']], [[0, 1, 2, '>', 3, 4, 5, 6, ' ']]]),
    (['A', 'A', 'A', 'A', 'A', 'A', 'A'], [[['>', 0, 1, 2, 3, 3, 4, 4, ' ', 1, 5, ' ', 6, 6]]]),
    (['A', 'A', 'A', 'A', 'A', ' A'], [[[' ', 0, 1, 2, 0, 3, 4, 2, 5, 0]], [[' ', 0, 1, 2, 0, 3, 4, 2, 5, 0]]]),
    (['a', 'a', ' a', 'a', 'a', 'a', 'a', 'a'], [[[0, 1, 2, 3, 4, 5, 6, 7, '\n       ']], [[0, 1, 2, 3, 4, 5, 6, 7, '\n       ']]]),
    (['A', ' 0', 'A', 'A', 'A'], [[[' ', 0, 1, 2, 3, '\n   ', '-', ' ', 4]], [[' ', 0, 1, 2, 3, '\n   ', '-', ' ', 4]]]),
    (['a', 'a', 'a', 'a', 'a', 'a', 'a'], [[[0, 1, '_', 2, 3, 4, 5, 2, 6, 4, ' ']], [[0, 1, '_', 2, 3, 4, 5, 2, 6, 4, ' ']]]),
    (['a', 'a', 'a', 'a', 'a', 'a', 'a', 'A'], [[[0, 1, 1, 2, 3, 4, 5, ' ', 3, 6, 7]], [[0, 1, 1, 2, 3, 4, 5, ' ', 3, 6, 7]]]),
    (['a', 'a', 'a'], [[["'", '_', '.', 0, ')', 1, '_', 1, 2]], [["'", '_', '.', 0, ')', 1, '_', 1, 2]]]),
    (['A', 'A', 'A', 'A', 'A', 'A', ' A'], [[["'", 0, 1, 2, 2, 3, 4, 2, '\n   ', 5, 6, 4, ' #', '\\']]]),
    (['a', 'a', 'a', 'a', 'a', 'a'], [[[0, 1, 2, ' ', 3, 4, 5, '\n   ']], [[0, 1, 2, ' ', 3, 4, 5, '\n   ']], [[0, 1, 2, ' ', 3, 4, 5, '\n   ']]]),
    (['a', 'a', 'a', ' a', 'a', 'a', 'a', 'a', 'a'], [[[0, 1, '\n           ', ' ', 2, 3, ']', 4, '\n       ', 5, 6, 7, 8, '(']]]),
    (['a', '0', '0', 'a'], [[["'", 0, 1, '\\', 0, 2, 1, '\\', 0, 3]], [["'", 0, 1, '\\', 0, 2, 1, '\\', 0, 3]]]),
    (['a', 'a', 'a', ' a', 'a', 'a', 'a'], [[[0, '%', ' ', ' ', ' ', 1, 2, 3, "'", 4, '%', ' ', 5, 4, '_', 6]]]),
    (['0', 'A', 'A', 'a', 'a', 'A', 'A', 'a', 'a'], [[[0, '_', 1, 2, 3, 4, '\n', 5, 6, 7, '\n', 8]]]),
    (['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a'], [[['.', 0, ')', 1, '\n   ', 2, 3, '_', 4, 5, 6, 1, 7]]]),
    (['a', 'a', 'a', 'a', ' a', 'a', 'a', 'a', 'a', 'a'], [[['_', 0, 1, 2, 3, 4, 5, 6, '\n           ', 7, 8, 7, 9]]]),
    (['a', 'a', 'a', 'a', 'a', 'a'], [[[0, 1, ',', 2, 3, '        ', 4, 5, '_', 5]], [[0, 1, ',', 2, 3, '        ', 4, 5, '_', 5]]]),
    (['a', 'a', 'A', 'A', 'a', 'a', 'A', 'a'], [[[0, 1, 2, ' ', 3, 4, 5, 1, ' ', ' ', 5, 6, 7]]]),
    (['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a'], [[['(', 0, 1, 0, '_', 2, 3, 4, 5, 6, 7, 8, 3, 8, 9]]]),
    (['A', 'A', 'a', 'A', 'A', 'A', 'A', 'A', 'a'], [[[0, 1, 1, 2, 3, "'", ' ', ' #', 4, 5, 6, ' ', 7, 8, 1]]]),
    (['a', 'a', 'a', 'a', 'a', 'a'], [[[0, '_', '\n', 1, '"', 2, 3, 4, 5]], [[0, '_', '\n', 1, '"', 2, 3, 4, 5]]]),
    (['a', 'a', 'a', 'a', 'a', 'a', 'a'], [[[0, 1, '[', '\n           ', 2, 3, 4, 5, 6, 3]], [[0, 1, '[', '\n           ', 2, 3, 4, 5, 6, 3]]]),
    (['a', 'a', 'A'], [[[' ', 0, ' #', 1, 2, 0, '(', ' ']], [[' ', 0, ' #', 1, 2, 0, '(', ' ']], [[' ', 0, ' #', 1, 2, 0, '(', ' ']]]),
    (['a', 'a', 'a', 'A', 'A', 'a', 'a', 'a', 'a', 'a'], [[[0, 1, 2, 3, 4, 0, 5, 6, 5, 7, 8, 9]]]),
    (['A', 'A', ' A', 'A', 'A', 'A', 'A', 'A', 'A'], [[[0, 1, ' ', ' ', 2, 3, 2, 4, 4, 5, 6, 7, 1, 8]]]),
]
SEPARATORS = ['']
ITEMS = [
    {' x': [' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', '\n', '\n', '\n', '\n', '\n', '\n', '\n   ', '\n   ', '\n   ', '\n   ', '\n   ', ' #', ' #', ' #', ' #', ' #', '\n           ', '\n           ', '\n           ', '\n       ', '\n       ', '        ', '        ', " '"], 'A': ['T', 'T', 'T', 'T', 'T', 'T', 'T', 'T', 'T', 'T', 'T', 'T', 'T', 'T', 'A', 'A', 'A', 'A', 'A', 'A', 'A', 'A', 'A', 'A', 'A', 'E', 'E', 'E', 'E', 'E', 'E', 'E', 'E', 'E', 'E', 'E', 'I', 'I', 'I', 'I', 'I', 'I', 'I', 'I', 'I', 'I', 'I', 'L', 'L', 'L', 'L', 'L', 'C', 'C', 'C', 'C', 'H', 'H', 'H', 'H', 'N', 'N', 'N', 'N', 'O', 'O', 'O', 'O', 'B', 'B', 'B', 'M', 'M', 'P', 'P', 'R', 'R', 'W', 'W', 'D', 'F', 'S', 'V', 'X', 'Y'], 'x': ['_', '_', '_', '_', '_', '_', '_', '_', '_', '_', '_', '_', "'", "'", "'", "'", "'", '(', '(', '(', '.', '.', '.', '\\', '\\', '\\', '%', '%', ')', ')', ',', ',', '>', '>', '"', '#', '-', ';', '[', ']'], 'a': ['r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 't', 't', 't', 't', 't', 't', 't', 't', 't', 't', 't', 't', 'i', 'i', 'i', 'i', 'i', 'i', 'i', 'i', 'i', 'i', 'p', 'p', 'p', 'p', 'p', 'p', 'p', 'p', 'p', 'p', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'l', 'l', 'l', 'l', 'l', 'l', 'l', 'l', 'e', 'e', 'e', 'e', 'e', 'e', 'e', 'or', 'or', 'or', 'or', 'or', 'or', 'or', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'f', 'f', 'f', 'f', 'f', 'o', 'o', 'o', 'o', 'o', 's', 's', 's', 's', 's', 'c', 'c', 'c', 'c', 'ce', 'ce', 'ce', 'ce', 'd', 'd', 'd', 'd', 'de', 'de', 'de', 'de', 'm', 'm', 'm', 'm', 'on', 'on', 'on', 'on', 'se', 'se', 'se', 'se', 'g', 'g', 'g', 'n', 'n', 'n', 'y', 'y', 'y', 'al', 'al', 'at', 'at', 'b', 'b', 'self', 'self', 'x', 'x', 'h', 'he', 'in', 'le', 'te', 'ur', 'v', 'w'], ' A': [' L', ' L', ' L', ' L', ' L'], '0': ['0', '0', '3', '3', '1', '2', '9'], ' 0': [' 0'], ' a': [' a', ' e', ' n', ' re']},
]
OTHERS = [
    lambda rng: None,
]
CHARACTERS_PER_TOKEN = 1.286


def draw(rng, kind, places, used):
    """An item of this kind for the fields at all these places, another one than those used if there is one."""
    first, others = places[0], places[1:]
    listed = ITEMS[first][kind]
    if not listed:
        return OTHERS[first](rng)  # the others draw alike
    for _ in range(8):
        item = rng.choice(listed)
        if item not in used and all(item in ITEMS[place][kind] for place in others):
            return item
    return rng.choice([item for item in listed if all(item in ITEMS[place][kind] for place in others)])


def written(rng, before, kinds, repetitions):
    """The values of the fields in each repetition: numbers are items to draw, the same wherever one stands.

    What stands more than once in a text may come back in the next: such items are kept in before, and taken first.
    """
    places, often = {}, set()
    for repetition in repetitions:
        for place, items in enumerate(repetition):
            for item in items:
                if not isinstance(item, str):
                    if item in places:
                        often.add(item)
                    if place not in places.setdefault(item, []):
                        places[item].append(place)
    known, used = {}, set()
    for number in places:
        kept = before.setdefault((kinds[number], *places[number]), []) if number in often else []
        item = next((item for item in kept if item not in used), None)
        if item is None:
            item = draw(rng, kinds[number], places[number], used)
            kept.append(item)
        known[number] = item
        used.add(item)
    return [
        [separator.join([known.get(item, item) for item in items]) for separator, items in zip(SEPARATORS, repetition)]
        for repetition in repetitions
    ]


def generate_p001_span_of_8_to_16_pieces_repeated(rng, target_tokens):
    """span of 8 to 16 pieces repeated: the template repeated until the text is long enough."""
    limit = target_tokens * CHARACTERS_PER_TOKEN
    parts = []
    length = 0
    kept, before = {}, {}
    while length < limit:
        for values in written(rng, before, *rng.choice(RECURRENCE)):
            field_span = kept.setdefault('span', values[0])
            part = field_span
            parts.append(part)
            length += len(part)
            if length >= limit:
                break
    return "".join(parts)
