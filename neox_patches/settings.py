"""The patch file: one YAML that says which plan the trainer follows and what it emits.

Relative paths are relative to the file. What is not known is an error. A file that says nothing changes nothing.
"""

from pathlib import Path
from typing import Literal

from curator.artifacts.fields import Count, Seed, Step, written_out
from curator.artifacts.schema import GivenPath, Many, Settings, load_strict
from curator.errors import UsageError

MOST_STEPS = 10_000_000
"""More chosen steps than this are taken for a mistake."""


class Gradients(Settings):
    """Per-sample subspace gradients G = Σ_t x_t g_tᵀ of every block, [inputs, outputs], or a compressed form."""

    compress: Literal["none", "projection", "eigenbasis"] = "none"
    """``projection``: R_inᵀ G R_out with Gaussian R of variance 1/rank, so that products are kept in expectation;
    ``eigenbasis``: Q_Aᵀ G Q_S in the leading ``rank`` eigenvectors of given factors."""
    rank: Count | None = None
    """Of both sides; a side that is smaller keeps its size."""
    seed: Seed = 0
    """Of the projection."""
    bases: GivenPath | None = None
    """A ranking or its ``factors`` folder, whose eigenvectors are used."""

    def check(self) -> None:
        """What needs what."""
        if self.compress != "none" and self.rank is None:
            raise ValueError(f"compress: {self.compress} needs a rank")
        if self.compress == "none" and self.rank is not None:
            raise ValueError("rank is given, but compress is none: say projection or eigenbasis")
        if (self.compress == "eigenbasis") != (self.bases is not None):
            raise ValueError(
                "bases (a ranking's folder) belongs to compress: eigenbasis, and is needed there"
            )


class Factors(Settings):
    """Sums for A = E[x xᵀ] and S = E[g gᵀ] (over the data's own labels), and per-sample Λ where bases are given."""

    bases: GivenPath | None = None
    """A ranking or its ``factors`` folder: Λ = E_i[(Q_Aᵀ G_i Q_S)²] in its eigenvectors. Without it, A and S alone."""


class Emit(Settings):
    """What is written while training."""

    out: GivenPath
    """Folder; one subfolder per rank."""
    steps: Many[Step]
    """Steps, counted from 0, whose samples are written: numbers and ``{from, to, every}`` ranges."""
    units: Many[str] = ()
    """``kind:address`` (``*`` for all), for gradients and factors."""
    unit_modules: Many[GivenPath] = ()
    """Python files that register kinds of unit."""
    gradients: Gradients | None = None
    factors: Factors | None = None
    scores: Many[GivenPath] = ()
    """Rankings (or ``curator rank --queries-only`` folders) whose queries every sample is scored against."""

    def check(self) -> None:
        """What needs what."""
        if not self.steps:
            raise ValueError("steps is empty: nothing would be emitted")
        count = sum(
            1 if isinstance(entry, int) else (entry.to - entry.from_) // entry.every + 1
            for entry in self.steps
        )
        if count > MOST_STEPS:
            raise ValueError(
                f"steps names {count} steps, more than {MOST_STEPS}; give a larger 'every', or a nearer 'to'"
            )
        if self.gradients is None and self.factors is None and not self.scores:
            raise ValueError("nothing to emit: give gradients, factors or scores")
        if (self.gradients is not None or self.factors is not None) and not self.units:
            raise ValueError("gradients and factors need units, for example ['induction:3.3']")
        if self.units and self.gradients is None and self.factors is None:
            raise ValueError("units is for gradients and factors; scores take the units of their rankings")

    @property
    def step_list(self) -> list[int]:
        """``steps`` written out, rising, each once."""
        return written_out(self.steps)


class PatchFile(Settings):
    """The whole file."""

    neox: str | None = None
    """The checkout: a folder, or HEAD, v1.0, … in the cache folder; null: $NEOX_HOME or the only one there is."""
    corpus: GivenPath | None = None
    """The training tokens in training order. Rows (``.npy``, mmap-ninja, ``.bin/.idx`` of whole rows) are served in
    file order, without GPT-NeoX shuffling them; GPT-NeoX's own shuffled order is served by GPT-NeoX and checked."""
    epochs: Count = 1
    """Passes over a corpus whose rows are served, the last perhaps not whole: slot s holds sample s modulo its length.
    For runs without a plan; a plan says it itself (``curator mask --epochs``)."""
    plan: GivenPath | None = None
    """Folder of the plan to follow; null follows the corpus as it is."""
    emit: Emit | None = None

    def check(self) -> None:
        """What needs what."""
        if self.plan is not None and self.corpus is None:
            raise ValueError("a plan needs the corpus whose samples it names: give 'corpus'")
        if self.epochs > 1 and self.corpus is None:
            raise ValueError("epochs are passes over the corpus: give 'corpus'")

    @property
    def is_empty(self) -> bool:
        """Whether training stays exactly as it is."""
        return self.corpus is None and self.plan is None and self.emit is None


def load_patch_file(path: Path) -> PatchFile:
    """Read and check the patch file.

    Raises:
        UsageError: names the file, the line, the field, what was given and what is allowed.
    """
    patch = load_strict(path, PatchFile)
    if patch.emit is not None and patch.emit.step_list[0] < 0:
        raise UsageError(f"{path}: emit.steps: steps are counted from 0")
    return patch
