"""Which samples are shown: the flags of `curator show`."""

from typing import Annotated

from curator.artifacts.conditions import Only
from curator.artifacts.fields import BatchSize, Corpus, Count, OneUnit, Seed, Tokenizer
from curator.artifacts.flags import Flag
from curator.artifacts.schema import GivenPath, Settings


class ShowSettings(Settings):
    """What is shown, and where it is written besides."""

    path: Annotated[GivenPath, Flag(argument=True)]
    """A ranking, an audit of rendered rows, or a corpus of any format: rendered rows, too."""
    unit: OneUnit = None
    top: Count | None = None
    """Show the N highest scores. [default of a ranking: 5]"""
    bottom: Count | None = None
    """Show the N lowest scores."""
    random: Count | None = None
    """Show N samples drawn at random."""
    first: Count | None = None
    """Show the N first ones, as they lie. [default of a corpus: 5]"""
    seed: Annotated[Seed, Only("random")] = 0
    """Of the draw."""
    corpus: Corpus = None
    tokenizer: Tokenizer = None
    batch_size: BatchSize = None
    markdown: GivenPath | None = None
    """Also write them to this Markdown file."""
    json_: GivenPath | None = None
    """Also write them to this JSON file, their text as it is shown."""
