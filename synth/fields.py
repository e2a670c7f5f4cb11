"""Fields that the settings of several stages share: each is declared once, with its rule."""

from typing import Annotated

from pydantic import Field

from curator.artifacts.fields import Count
from curator.artifacts.flags import Flag
from curator.artifacts.schema import GivenPath

SIMILAR = 0.85
"""Similarity from which two patterns are one, unless the user says otherwise."""
PatternsFolder = Annotated[
    GivenPath,
    Field(description="Folder with registry.json, as `synth distill` writes it."),
    Flag(argument=True),
]
UnsafeSandbox = Annotated[
    bool,
    Field(description="Run generated code although this machine cannot shut it in (see synth doctor)."),
]
Workers = Annotated[Count | None, Field(description="Processes."), Flag(default="one per core")]
