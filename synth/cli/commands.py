"""What the commands of `synth` do with their flags: gather, call one room, say where the result is."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curator.artifacts.claim import lock_folder
from curator.artifacts.files import remove_temporaries, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.manifests import load_manifest
from curator.cli.next_steps import again_without, next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.corpus.token_text import read_tokenizer
from curator.errors import CuratorError, UsageError
from synth.llm.chat import Chat
from synth.llm.ledger import BilledError
from synth.llm.settings import ChatSettings
from synth.patterns.registry import Registry

ENGINES = ("llm", "builtin")
AUDIT = "audit.json"


def run_distill(
    path: Path,
    out: Path,
    engine: str,
    chosen: dict[str, Any],
    similar: float,
    builtin: dict[str, Any],
    llm: dict[str, Any],
    chat: ChatSettings,
) -> None:
    """`synth distill`."""
    from synth.distill.run import Engine, Top, distill

    _check_engine(engine, chat, llm)
    top = Top.open(path, **chosen)
    ask: Engine
    asked: Chat | None = None
    if engine == "builtin":
        from synth.distill.miner import mine

        described: dict[str, Any] = {"name": "builtin", **builtin}

        def ask(samples: Any) -> Any:
            return mine(samples, top.tokenizer, **builtin)
    else:
        from synth.distill.llm import LlmEngine

        model = LlmEngine(chat, out / "cache", **{k: v for k, v in llm.items() if k != "dry_run"})
        described = model.describe()
        if llm["dry_run"]:
            say(model.dry_run(top.samples()))
            next_step(*again_without("--dry-run"))
            return
        ask, asked = model, model.chat
    with _billed(asked):
        registry = distill(top, ask, described, out, similar)
    _print_registry(registry, out, chosen, asked)


@contextmanager
def _billed(asked: Chat | None) -> Iterator[None]:
    """Say what a command has cost also when it fails; what `Chat` raises says so itself."""
    try:
        yield
    except BilledError:
        raise
    except (CuratorError, OSError):
        if asked is not None and asked.totals.any:
            say(asked.bill())
        raise
    finally:
        if asked is not None:
            asked.close()


def _print_registry(registry: Registry, out: Path, chosen: dict[str, Any], asked: Chat | None) -> None:
    rows = []
    for entry in registry.entries[:20]:
        samples = len(entry.provenance["samples"])
        template = entry.pattern.template.replace("\n", "⏎")
        rows.append([entry.pattern.pattern_id, entry.pattern.pattern_name[:40], str(samples), template[:60]])
    header = registry.header
    title = (
        f"{len(registry.entries)} patterns of {header['samples']['distilled']} samples of {header['samples']['unit']} "
        f"({header['found']} before merging); the first ones:"
    )
    print_rows(title, ["id", "name", "samples", "template"], rows)
    if asked is not None and asked.totals.any:
        say(asked.bill())
    top, wanted = header["samples"]["top"], chosen.get("top")
    if wanted is not None and top < wanted:
        say(
            f"{top} samples have a positive score; {wanted} were asked for (--top), and the others are left out."
        )
    if header["set_aside"]:
        say(f"{len(header['set_aside'])} answers or patterns were set aside, with reasons, in registry.json.")
    nowhere = [e for e in registry.entries if not e.provenance["samples"]]
    absent = [e.pattern.pattern_id for e in nowhere if not e.provenance.get("undecided")]
    unknown = [e.pattern.pattern_id for e in nowhere if e.provenance.get("undecided")]
    if absent:
        say(
            f"{_listed(absent)}: in none of the samples they were made of, so that they weigh 0 unless --weights says "
            "more."
        )
    if unknown:
        say(
            f"{_listed(unknown)}: undecided, since the search for them took too much work in samples that they were "
            "made of, and found them in no other; they weigh 0 unless --weights says more."
        )
    held_out = len(header["samples"]["held_out"])
    say(f"Written to {out}/registry.json; {held_out} top samples held out.")
    if held_out:
        moved = ["--corpus", chosen["corpus"]] if chosen.get("corpus") else []
        next_step("synth", "audit", "patterns", out, *moved)
    else:
        next_step("synth", "generate", out, *_engine_words(registry), "--out", "generators")


def _listed(ids: list[str]) -> str:
    """At most eight of them by name."""
    return ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")


def run_audit_patterns(
    patterns: Path,
    ranking_path: Path | None,
    corpus_path: Path | None,
    tokenizer: Path | None,
    seed: int,
    workers: int | None,
) -> None:
    """`synth audit patterns`."""

    from curator.ranking.ranking import Ranking
    from synth.audit.patterns import audit_patterns, finished

    registry = Registry.open(patterns)
    made_of = registry.header["samples"]
    ranking = Ranking.open(ranking_path or Path(made_of["ranking"]))
    corpus = ranking.open_corpus(corpus_path)
    tokens = tokenizer_file(tokenizer, registry)
    known = read_tokenizer(tokens)
    found = fingerprint(tokens.read_bytes())
    if found != made_of["tokenizer_fingerprint"]:
        raise CuratorError(
            f"{registry.path} was distilled with the tokenizer of fingerprint {made_of['tokenizer_fingerprint']}, but "
            f"{tokens} has {found}: give that tokenizer"
        )
    folder = registry.path.parent
    file, parts = folder / AUDIT, folder / "audit-parts"
    with lock_folder(folder):
        remove_temporaries(folder)
        result = finished(file, registry, ranking, known, seed)
        if result is None:
            result = audit_patterns(registry, ranking, corpus, known, seed=seed, workers=workers, parts=parts)
            save_json(file, result)
        shutil.rmtree(parts, ignore_errors=True)
    print_pattern_audit(result)
    carrying = sum(one["carries"] for one in result["patterns"])
    say(f"{carrying} of {len(result['patterns'])} patterns carry ({result['rule']}).\nWritten to {file}.")
    words = [*_engine_words(registry), *([] if carrying else ["--all"])]
    words += ["--tokenizer", tokens] if tokenizer is not None else []
    next_step("synth", "generate", folder, *words, "--out", "generators")


def print_pattern_audit(result: dict[str, Any]) -> None:
    """How often each pattern occurs, of how many samples, and the odds; what was left out, and notes."""
    rows = []
    for one in result["patterns"][:30]:
        a, n = one["odds"]["random"]["counts"][:2]
        cells = [one["pattern_id"], one["pattern_name"][:40], f"{a}/{n}"]
        for odds in one["odds"].values():
            c, m = odds["counts"][2:]
            cells += [f"{c}/{m}", f"{odds['ratio']:.2f} [{odds['low']:.2f}, {odds['high']:.2f}]"]
        rows.append([*cells, "yes" if one["carries"] else "no", _beyond(one["beyond_loss"])])
    title = "Samples in which each pattern occurs: held-out top ones and controls; odds ratio [95 % interval]"
    controls = [cell for control in result["patterns"][0]["odds"] for cell in (control, "odds")]
    print_rows(title, ["id", "name", "top", *controls, "carries", "beyond loss"], rows)
    say("".join(f"{note}\n" for note in result["notes"]), end="")
    for one in result["patterns"]:
        if any(one["undecided"].values()):
            said = ", ".join(f"{name} {n}" for name, n in one["undecided"].items())
            say(f"{one['pattern_id']}: the search was given up in samples left out of its counts: {said}.")


def _beyond(says: bool | None) -> str:
    return "-" if says is None else "yes" if says else "no"


def run_generate(
    patterns: Path,
    out: Path,
    engine: str,
    chosen: dict[str, Any],
    own: Path | None,
    target_tokens: int | None,
    tokenizer: Path | None,
    llm: dict[str, Any],
    unsafe: bool,
    chat: ChatSettings,
) -> None:
    """`synth generate`."""
    from synth.generate.run import Writer, builtin_writer, generate, own_sources, own_writer
    from synth.sandbox import Sandbox

    _check_engine(engine, chat, llm)
    registry = Registry.open(patterns)
    entries = _chosen(registry, **chosen)
    samples = {entry.pattern.pattern_id: entry.provenance["samples"] for entry in entries}
    made_of = registry.header["samples"]
    patterns_chosen = [entry.pattern for entry in entries]
    file = tokenizer_file(tokenizer, registry)
    known = read_tokenizer(file)
    target = target_tokens or made_of["seq_length"] + 1
    identity: dict[str, Any] = {
        "engine": {"name": "builtin"},
        "tokenizer": fingerprint(file.read_bytes()),
        "seq_length": made_of["seq_length"],
    }
    write: Writer = builtin_writer
    asked: Chat | None = None
    if engine == "llm":
        from synth.generate.llm import LlmWriter

        writer = LlmWriter(chat, out / "cache", **llm)
        write, asked = writer, writer.chat
        identity["engine"] = writer.describe()
    if own is not None:
        sources = own_sources(own, patterns_chosen)
        write = own_writer(sources, write)
        identity["own"] = {name: fingerprint(source.read_bytes()) for name, source in sources.items()}
    with _billed(asked):
        made = generate(
            patterns_chosen,
            out,
            identity,
            write,
            Sandbox(unsafe=unsafe),
            known,
            target_tokens=target,
            concurrency=chat.concurrency if engine == "llm" else 2,
            samples=samples,
            facts={
                "registry": str(registry.path.absolute()),
                "ranking": made_of["ranking"],
                "tokenizer": str(file.absolute()),
                "seq_length": made_of["seq_length"],
                "corpus_fingerprint": made_of.get("corpus_fingerprint"),
            },
            stop=asked.stop if asked is not None else lambda: None,
        )
    rows = [
        [
            one.pattern_id,
            one.pattern.pattern_name[:40],
            f"{one.details['checks']['length_ratio']:.2f}",
            f"{one.details['checks']['alike']:.0%}",
        ]
        for one in made.generators[:30]
    ]
    print_rows(
        f"{len(made.generators)} generators passed their checks",
        ["id", "name", "length", "two texts share"],
        rows,
    )
    if asked is not None and asked.totals.any:
        say(asked.bill())
    for item in made.manifest["set_aside"][:10]:
        say(f"set aside: {item['pattern_id']}: {item['reason'].splitlines()[0]}")
    aside = len(made.manifest["set_aside"])
    say(f"Written to {out}/: one .py per pattern, manifest.json ({aside} set aside, with reasons).")
    words = ["--weights", "equal", "--count", 100 * len(made.generators), "--out", "trial"]
    next_step("synth", "render", out, *words, *(["--unsafe-sandbox"] if unsafe else []))


def _chosen(registry: Registry, only: list[str] | None, carrying: bool | None) -> Any:
    """The entries to work on: those named, or those that carry, best first, or all."""
    from synth.audit.patterns import FORMAT

    file = registry.path.parent / AUDIT
    if only:
        return registry.chosen(only)
    if carrying is None:
        carrying = file.is_file()
    if not carrying:
        return registry.entries
    again = "run synth audit patterns again, or give --all"
    if not file.is_file():
        raise UsageError(f"{file}: the patterns were not audited, so none is known to carry; {again}")
    audit = load_manifest(file, FORMAT, again, ("registry_fingerprint", "patterns[]"))
    if audit["registry_fingerprint"] != registry.fingerprint():
        raise UsageError(f"{file} is of another registry; {again}")
    try:
        ids = [one["pattern_id"] for one in audit["patterns"] if one["carries"]]
    except (KeyError, TypeError) as error:
        raise CuratorError(f"{file}: a pattern lacks its verdict, so it was edited; {again}") from error
    if not ids:
        raise UsageError(f"{file}: no pattern carries; give --all to generate for all of them, or --only")
    say(f"{len(ids)} of {len(registry.entries)} patterns, those that carry ({file}); --all takes all.")
    return registry.chosen(ids)


def tokenizer_file(given: Path | None, registry: Registry) -> Path:
    """The one given, else that of the distilled samples.

    Raises:
        CuratorError: it is no longer there.
    """
    made_of = registry.header["samples"]
    there = Path(made_of["tokenizer"])
    if given is None and not there.is_file():
        raise CuratorError(
            f"{registry.path}: its tokenizer {there} is no longer there; give --tokenizer FILE"
        )
    file = given or there
    return file / "tokenizer.json" if file.is_dir() else file


def _engine_words(registry: Registry) -> list[object]:
    """What asks `synth generate` for the engine that distilled; empty where that is the default."""
    engine = registry.header["engine"]
    if engine.get("name") == "builtin":
        return ["--engine", "builtin"]
    default = ChatSettings()
    words: list[object] = []
    for flag, key, usual in (
        ("--base-url", "base_url", default.base_url),
        ("--model", "model", default.model),
    ):
        if engine.get(key, usual) != usual:
            words += [flag, engine[key]]
    return words


def run_doctor() -> None:
    """`synth doctor`."""
    from curator.cli.tables import print_checks
    from synth.cli.doctor import report

    print_checks(report())


def _check_engine(engine: str, chat: ChatSettings, llm: dict[str, Any]) -> None:
    """Refuse an engine that is none, and what only a language model could heed."""
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: the engines are {' and '.join(ENGINES)}")
    usual = ChatSettings()
    asked = {
        "--dry-run": llm.get("dry_run"),
        "--prompt": llm.get("prompt"),
        "--budget": chat.budget,
        "--base-url": chat.base_url != usual.base_url,
        "--model": chat.model != usual.model,
    }
    for flag, value in asked.items():
        if engine == "builtin" and value not in (None, False):
            raise UsageError(f"{flag} is for --engine llm; --engine builtin asks nobody and costs nothing")
