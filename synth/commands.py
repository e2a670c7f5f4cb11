"""What the commands of `synth` do with their flags: gather, call one room, say where the result is."""

from pathlib import Path
from shlex import quote
from typing import Any

from curator.errors import UsageError
from curator.storage import fingerprint, load_json, save_json
from curator.tables import print_rows
from curator.token_text import read_tokenizer, visible
from synth.llm.settings import ChatSettings
from synth.registry import Registry

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
    from synth.distill import Engine, Top, distill

    _check_engine(engine)
    top = Top.open(path, **chosen)
    ask: Engine
    if engine == "builtin":
        from synth.miner import mine

        described: dict[str, Any] = {"name": "builtin", **builtin}

        def ask(samples: Any) -> Any:
            return mine(samples, top.tokenizer, **builtin), []
    else:
        from synth.distill_llm import LlmEngine

        ask = LlmEngine(chat, out / "cache", **{k: v for k, v in llm.items() if k != "dry_run"})
        described = ask.describe()
        if llm["dry_run"]:
            print(ask.dry_run(top.samples()))
            return
    registry = distill(top, ask, described, out, similar)
    _print_registry(registry, out)


def _print_registry(registry: Registry, out: Path) -> None:
    rows = []
    for entry in registry.entries[:20]:
        samples = len(entry.provenance["samples"])
        template = visible(entry.pattern.template).replace("\n", "⏎")
        rows.append([entry.pattern.pattern_id, entry.pattern.pattern_name[:40], str(samples), template[:60]])
    header = registry.header
    title = (
        f"{len(registry.entries)} patterns of {header['samples']['distilled']} samples of {header['samples']['unit']} "
        f"({header['found']} before merging); the first ones:"
    )
    print_rows(title, ["id", "name", "samples", "template"], rows)
    if header["set_aside"]:
        print(
            f"{len(header['set_aside'])} answers or patterns were set aside, with reasons, in registry.json."
        )
    print(
        f"Written to {out}/registry.json; {len(header['samples']['held_out'])} top samples held out. "
        f"Next: synth audit patterns {quote(str(out))}"
    )


def run_audit_patterns(
    patterns: Path,
    ranking_path: Path | None,
    corpus_path: Path | None,
    tokenizer: Path | None,
    seed: int,
    workers: int | None,
) -> None:
    """`synth audit patterns`."""
    from curator.commands import ranked_corpus
    from curator.ranking import Ranking
    from synth.audit_patterns import audit_patterns

    registry = Registry.open(patterns)
    made_of = registry.header["samples"]
    ranking = Ranking.open(ranking_path or Path(made_of["ranking"]))
    corpus = ranked_corpus(ranking, corpus_path)
    result = audit_patterns(
        registry,
        ranking,
        corpus,
        read_tokenizer(tokenizer or Path(made_of["tokenizer"])),
        seed=seed,
        workers=workers,
    )
    file = registry.path.parent / AUDIT
    save_json(file, result)
    rows = []
    for one in result["patterns"][:30]:
        a, n = one["odds"]["random"]["counts"][:2]
        cells = [one["pattern_id"], one["pattern_name"][:40], f"{a / n:.1%}"]
        for odds in one["odds"].values():
            cells += [
                f"{odds['counts'][2] / odds['counts'][3]:.1%}",
                f"{odds['ratio']:.2f} [{odds['low']:.2f}, {odds['high']:.2f}]",
            ]
        rows.append([*cells, "yes" if one["carries"] else "no"])
    title = (
        "How often each pattern occurs in held-out top samples and in controls; odds ratio [95 % interval]"
    )
    controls = [cell for control in result["patterns"][0]["odds"] for cell in (control, "odds")]
    print_rows(title, ["id", "name", "top", *controls, "carries"], rows)
    print("".join(f"{note}\n" for note in result["notes"]), end="")
    out_of_time = sum(one["out_of_time"] for one in result["patterns"])
    if out_of_time:
        print(f"{out_of_time} searches ran out of time and count as no occurrence.")
    carrying = sum(one["carries"] for one in result["patterns"])
    print(
        f"{carrying} of {len(result['patterns'])} patterns carry ({result['rule']}).\nWritten to {file}. "
        f"Next: synth generate {quote(str(registry.path.parent))} --out generators"
    )


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
    from synth.generate import Writer, builtin_writer, generate, own_writer
    from synth.sandbox import Sandbox

    _check_engine(engine)
    registry = Registry.open(patterns)
    entries = _chosen(registry, **chosen)
    made_of = registry.header["samples"]
    file = tokenizer or Path(made_of["tokenizer"])
    target = target_tokens or made_of["seq_length"] + 1
    sandbox = Sandbox(unsafe=unsafe)
    identity: dict[str, Any] = {
        "registry": str(registry.path.absolute()),
        "engine": {"name": "builtin"},
        "tokenizer": str(file.absolute()),
        "tokenizer_fingerprint": fingerprint(file.read_bytes()) if file.is_file() else None,
        "seq_length": made_of["seq_length"],
    }
    write: Writer = builtin_writer
    if engine == "llm":
        from synth.generate_llm import LlmWriter

        write = LlmWriter(chat, out / "cache", **llm)
        identity["engine"] = write.describe()
    if own is not None:
        write = own_writer(own, write)
        identity["own"] = {f.name: fingerprint(f.read_bytes()) for f in sorted(own.glob("*.py"))}
    concurrency = chat.concurrency if engine == "llm" else 2
    made = generate(
        [entry.pattern for entry in entries],
        out,
        identity,
        write,
        sandbox,
        read_tokenizer(file),
        target_tokens=target,
        concurrency=concurrency,
    )
    rows = [
        [
            one.pattern_id,
            one.pattern.pattern_name[:40],
            f"{one.length_ratio:.2f}",
            f"{one.details['checks']['alike']:.0%}",
        ]
        for one in made.generators[:30]
    ]
    print_rows(
        f"{len(made.generators)} generators passed their checks",
        ["id", "name", "length", "two texts share"],
        rows,
    )
    for item in made.manifest["set_aside"][:10]:
        print(f"set aside: {item['pattern_id']}: {item['reason'].splitlines()[0]}")
    print(
        f"Written to {out}/: one .py per pattern, manifest.json ({len(made.manifest['set_aside'])} set aside, with "
        f"reasons). Next: synth render {quote(str(out))} --count 1000 --out rows"
    )


def _chosen(registry: Registry, only: list[str] | None, carrying: bool | None) -> Any:
    """The entries to work on: those named, or those that carry, best first, or all."""
    file = registry.path.parent / AUDIT
    if only:
        return registry.chosen(only)
    if carrying is None:
        carrying = file.is_file()
    if not carrying:
        return registry.entries
    audit = load_json(file)
    if audit.get("registry_fingerprint") != registry.fingerprint():
        raise UsageError(f"{file} is of another registry; run synth audit patterns again, or give --all")
    ids = [one["pattern_id"] for one in audit["patterns"] if one["carries"]]
    if not ids:
        raise UsageError(f"{file}: no pattern carries; give --all to generate for all of them, or --only")
    print(f"{len(ids)} of {len(registry.entries)} patterns, those that carry ({file}); --all takes all.")
    return registry.chosen(ids)


def run_doctor() -> None:
    """`synth doctor`."""
    from curator.tables import print_checks
    from synth.doctor import report

    print_checks(report())


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: the engines are {' and '.join(ENGINES)}")
