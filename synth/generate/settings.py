"""How patterns become functions: the flags of `synth generate`."""

from typing import Annotated

from pydantic import Field

from curator.artifacts.conditions import Not
from curator.artifacts.fields import Tokenizer
from curator.artifacts.flags import Flag
from curator.artifacts.schema import GivenPath, Many, Settings
from synth.fields import PatternsFolder, UnsafeSandbox
from synth.llm.settings import Asked, ChatSettings, Engine, PromptFile, Tries


class GenerateSettings(Settings):
    """Of which patterns generators are written, and by what."""

    patterns: PatternsFolder
    out: GivenPath
    """Folder for the generators."""
    engine: Engine = "llm"
    only: Annotated[Many[str], Not("carrying")] = ()
    """Only this pattern_id; repeatable."""
    carrying: Annotated[bool | None, Flag(opposite="all", default="carrying, once audited")] = None
    """Only patterns that `synth audit patterns` found to carry, or all."""
    own: GivenPath | None = None
    """Folder of your own sources, PATTERN_ID_anything.py; checked like the others."""
    target_tokens: Annotated[Annotated[int, Field(ge=2)] | None, Flag(default="a row of the corpus")] = None
    """Length the checks ask for."""
    tokenizer: Tokenizer = None
    prompt: PromptFile = None
    tries: Tries = 2
    unsafe_sandbox: UnsafeSandbox = False
    chat: Asked = Field(default_factory=ChatSettings)
