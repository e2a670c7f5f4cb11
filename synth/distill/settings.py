"""How patterns are distilled: the flags of `synth distill`, and what decides a registry."""

from typing import Annotated, Any

from pydantic import Field

from curator.artifacts.conditions import Only
from curator.artifacts.fields import Corpus, Count, OneUnit, Seed, Share, Tokenizer
from curator.artifacts.flags import Flag
from curator.artifacts.schema import GivenPath, Settings
from synth.fields import SIMILAR
from synth.llm.settings import LLM, Asked, ChatSettings, Engine, OfLlm, PromptFile, Tries

BUILTIN = "Engine builtin"


class DistillSettings(Settings):
    """Which samples patterns are distilled from, and by what."""

    ranking: Annotated[GivenPath, Flag(argument=True)]
    """Folder of a ranking."""
    out: GivenPath
    """Folder for registry.json and the cache."""
    engine: Engine = "llm"
    unit: OneUnit = None
    top: Count = 2000
    """So many samples of highest influence, of those with a positive score (paper: 2000)."""
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of them held out for `synth audit patterns`."""
    seed: Seed = 0
    """Of the held-out draw."""
    similar: Share = SIMILAR
    """Similarity from which two patterns are merged."""
    least: Annotated[Count, Only("engine", "builtin"), Flag(panel=BUILTIN)] = 3
    """builtin: samples that must show a pattern."""
    most: Annotated[Count, Only("engine", "builtin"), Flag(panel=BUILTIN)] = 200
    """builtin: repeated strings to keep."""
    per_request: Annotated[Count, OfLlm, Flag(panel=LLM)] = 10
    """llm: samples in one request."""
    max_chars: Annotated[int, Field(ge=100), OfLlm, Flag(panel=LLM)] = 6000
    """llm: longer samples are cut here."""
    prompt: PromptFile = None
    tries: Tries = 2
    chat: Asked = Field(default_factory=ChatSettings)
    corpus: Corpus = None
    tokenizer: Tokenizer = None

    @property
    def mined(self) -> dict[str, Any]:
        """What decides the patterns of the builtin engine."""
        return {"least": self.least, "most": self.most}
