"""What the commands of `synth` do with their settings: call one stage, say what came of it and what to do next."""

from typing import Any

from curator.cli.next_steps import again_without, next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from synth.audit import stage as audit_stage
from synth.audit.settings import AuditPatternsSettings
from synth.distill import stage as distill_stage
from synth.distill.settings import DistillSettings
from synth.generate import stage as generate_stage
from synth.generate.settings import GenerateSettings
from synth.llm.settings import ChatSettings
from synth.patterns.registry import Registry


def distill(settings: DistillSettings, dry_run: bool) -> None:
    """`synth distill`."""
    if dry_run:
        say(distill_stage.dry_run(settings))
        next_step(*again_without("--dry-run"))
    else:
        print_registry(distill_stage.distill(settings), settings)


def print_registry(registry: Registry, settings: DistillSettings) -> None:
    """The first patterns, what became of the samples, and what to do next."""
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
    top, wanted = header["samples"]["top"], settings.top
    if top < wanted:
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
    say(f"Written to {settings.out}/registry.json; {held_out} top samples held out.")
    if held_out:
        moved = ["--corpus", settings.corpus] if settings.corpus else []
        next_step("synth", "audit", "patterns", settings.out, *moved)
    else:
        next_step("synth", "generate", settings.out, *_engine_words(registry), "--out", "generators")


def _listed(ids: list[str]) -> str:
    """At most eight of them by name."""
    return ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")


def audit_patterns(settings: AuditPatternsSettings) -> None:
    """`synth audit patterns`."""
    audit = audit_stage.audit_patterns(settings)
    result, carrying = audit.result, len(audit.carrying)
    print_pattern_audit(result)
    registry = Registry.open(settings.patterns)
    folder = registry.path.parent
    say(
        f"{carrying} of {len(result['patterns'])} patterns carry ({result['rule']}).\nWritten to {audit.path}."
    )
    words = [*_engine_words(registry), *([] if carrying else ["--all"])]
    if settings.tokenizer is not None:
        words += ["--tokenizer", registry.tokenizer_file(settings.tokenizer)]
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


def generate(settings: GenerateSettings) -> None:
    """`synth generate`."""
    made, out = generate_stage.generate(settings), settings.out
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
    for item in made.manifest["set_aside"][:10]:
        say(f"set aside: {item['pattern_id']}: {item['reason'].splitlines()[0]}")
    aside = len(made.manifest["set_aside"])
    say(f"Written to {out}/: one .py per pattern, manifest.json ({aside} set aside, with reasons).")
    words = ["--weights", "equal", "--count", 100 * len(made.generators), "--out", "trial"]
    next_step("synth", "render", out, *words, *(["--unsafe-sandbox"] if settings.unsafe_sandbox else []))


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
