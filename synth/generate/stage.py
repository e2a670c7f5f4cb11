"""The stage `generate`: from its settings to a folder of generators, whoever writes them."""

from contextlib import nullcontext
from typing import Any

from curator.artifacts.fingerprints import fingerprint
from curator.corpus.token_text import read_tokenizer
from curator.errors import UsageError
from curator.progress import remark
from synth.generate import run
from synth.generate.generators import Generators
from synth.generate.llm import LlmWriter
from synth.generate.settings import GenerateSettings
from synth.patterns.audit import FILE, PatternAudit
from synth.patterns.registry import Entry, Registry
from synth.sandbox import Sandbox


def generate(settings: GenerateSettings) -> Generators:
    """Write and check a generator for each pattern that is wanted, into the folder ``settings.out``.

    Raises:
        UsageError: a pattern, prompt or source that there is not.
        CuratorError: as of `synth.distill.stage.distill`; and where this machine cannot shut generated code in.
    """
    registry = Registry.open(settings.patterns)
    entries = _chosen(registry, settings)
    patterns, made_of = [entry.pattern for entry in entries], registry.header["samples"]
    file = registry.tokenizer_file(settings.tokenizer)
    known = read_tokenizer(file)
    identity: dict[str, Any] = {
        "engine": {"name": "builtin"},
        "tokenizer": fingerprint(file.read_bytes()),
        "seq_length": made_of["seq_length"],
    }
    write: run.Writer = run.builtin_writer
    model = None
    if settings.engine == "llm":
        write = model = LlmWriter(settings, settings.out / "cache")
        identity["engine"] = model.describe()
    if settings.own is not None:
        sources = run.own_sources(settings.own, patterns)
        write = run.own_writer(sources, write)
        identity["own"] = {name: fingerprint(source.read_bytes()) for name, source in sources.items()}
    with nullcontext() if model is None else model.chat:
        return run.generate(
            patterns,
            settings.out,
            identity,
            write,
            Sandbox(unsafe=settings.unsafe_sandbox),
            known,
            target_tokens=settings.target_tokens or made_of["seq_length"] + 1,
            concurrency=2 if model is None else settings.chat.concurrency,
            samples={entry.pattern.pattern_id: entry.provenance["samples"] for entry in entries},
            facts={
                "registry": str(registry.path.absolute()),
                "ranking": made_of["ranking"],
                "tokenizer": str(file.absolute()),
                "seq_length": made_of["seq_length"],
                "corpus_fingerprint": made_of.get("corpus_fingerprint"),
            },
            stop=(lambda: None) if model is None else model.chat.stop,
        )


def _chosen(registry: Registry, settings: GenerateSettings) -> tuple[Entry, ...]:
    """The entries to work on: those named, or those that carry, best first, or all."""
    file = registry.path.parent / FILE
    if settings.only:
        return registry.chosen(settings.only)
    if not (file.is_file() if settings.carrying is None else settings.carrying):
        return registry.entries
    ids = PatternAudit.open(registry).carrying
    if not ids:
        raise UsageError(f"{file}: no pattern carries; give --all to generate for all of them, or --only")
    remark(f"{len(ids)} of {len(registry.entries)} patterns, those that carry ({file}); --all takes all.")
    return registry.chosen(ids)
