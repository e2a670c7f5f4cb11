"""The stages as a notebook calls them: from settings to results, silent, with progress as an argument.

    registry = synth.distill(synth.DistillSettings(ranking="ranking", engine="builtin", out="patterns"))

`import synth` gives every name of this module at its first use, so that it stays light.
"""

from curator.artifacts.flags import as_library
from curator.progress import Progress
from synth.audit import stage as _audit
from synth.audit.rows import RowsAudit
from synth.audit.settings import AuditDataSettings, AuditPatternsSettings
from synth.distill import stage as _distill
from synth.distill.settings import DistillSettings
from synth.generate import stage as _generate
from synth.generate.generators import Generators
from synth.generate.settings import GenerateSettings
from synth.llm.settings import ChatSettings
from synth.patterns.audit import PatternAudit
from synth.patterns.registry import Registry
from synth.render import run as _render
from synth.render.folder import Rows
from synth.render.settings import RenderSettings

__all__ = [
    "AuditDataSettings",
    "AuditPatternsSettings",
    "ChatSettings",
    "DistillSettings",
    "GenerateSettings",
    "Generators",
    "PatternAudit",
    "Registry",
    "RenderSettings",
    "Rows",
    "RowsAudit",
    "audit_data",
    "audit_patterns",
    "distill",
    "generate",
    "render",
]
ALL = (DistillSettings, GenerateSettings, RenderSettings, AuditPatternsSettings, AuditDataSettings)
"""Whose flags messages may name beside those of the stage that was called."""


def distill(settings: DistillSettings, progress: Progress | None = None) -> Registry:
    """See `synth.distill.stage.distill`; ``progress`` is told where the work is, and what a language model cost."""
    with as_library(progress, DistillSettings, *ALL):
        return _distill.distill(settings)


def audit_patterns(settings: AuditPatternsSettings, progress: Progress | None = None) -> PatternAudit:
    """See `synth.audit.stage.audit_patterns`."""
    with as_library(progress, AuditPatternsSettings, *ALL):
        return _audit.audit_patterns(settings)


def generate(settings: GenerateSettings, progress: Progress | None = None) -> Generators:
    """See `synth.generate.stage.generate`."""
    with as_library(progress, GenerateSettings, *ALL):
        return _generate.generate(settings)


def render(settings: RenderSettings, progress: Progress | None = None) -> Rows:
    """See `synth.render.run.render`."""
    with as_library(progress, RenderSettings, *ALL):
        return _render.render(settings)


def audit_data(settings: AuditDataSettings, progress: Progress | None = None) -> RowsAudit:
    """See `synth.audit.stage.audit_data`."""
    with as_library(progress, AuditDataSettings, *ALL):
        return _audit.audit_data(settings)
