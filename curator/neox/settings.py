"""What a GPT-NeoX run is to do: the flags of `curator arm` and `curator schedule`."""

from typing import Annotated, Literal

from curator.artifacts.conditions import Only
from curator.artifacts.fields import Corpus, Count, Step, Window
from curator.artifacts.flags import Flag
from curator.artifacts.schema import GivenPath, Many, Settings


class ArmSettings(Settings):
    """One more run, and where it begins."""

    out: GivenPath
    """New folder, which the arm loads from and saves to."""
    plan: Annotated[GivenPath | None, Flag(default="none")] = None
    """The plan to follow."""
    start_from: Annotated[GivenPath | None, Flag(name="from", default="anew, from step 0")] = None
    """GPT-NeoX checkpoint to start from, SAVE/global_step{N}, or SAVE for its latest; it is copied."""
    config: Annotated[Many[GivenPath], Flag(default="those that GPT-NeoX copied into the checkpoint")] = ()
    """Config file of the baseline; repeatable."""
    changes: Annotated[Many[str], Flag(name="set", text="KEY=VALUE")] = ()
    """Another setting of GPT-NeoX for this arm; repeatable."""
    neox: Annotated[str | None, Flag(default="$NEOX_HOME")] = None
    """The checkout to train with: a folder, or HEAD, v1.0."""
    insist: Annotated[Many[Literal["unrecorded"]], Only("start_from")] = ()
    """unrecorded: take a checkpoint although its record is missing, or is of other files."""
    corpus: Corpus = None


class ScheduleSettings(Settings):
    """Which checkpoints are kept."""

    every: Count
    """Steps between two checkpoints."""
    window: Annotated[Window, Flag(default="the experiment's window")] = None
    """Steps FIRST:LAST to save densely, both included."""
    also: Many[Step] = ()
    """Further steps, for example 0,1,2,4,3000:9000:1000."""
    out: Annotated[GivenPath | None, Flag(default="print it")] = None
    """YAML file to write."""
