"""Options: made from the classes of the settings; and how their text becomes values.

A command of `stage` is told nothing but its settings: its flags, their help, defaults and ranges are those of the class
(`flags_of`). They are made when the command is called or asked for help, so that ``--help`` of the whole stays instant.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from curator.errors import UsageError

if TYPE_CHECKING:
    from curator.artifacts.flags import Flagged


def span(text: str | None, flag: str) -> tuple[int, int] | None:
    """``A:B`` as (A, B).

    Raises:
        UsageError: not two whole numbers with a colon between.
    """
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.strip().isdigit() and last.strip().isdigit()):
        raise UsageError(f"{flag} takes FIRST:LAST, two whole numbers with a colon between, not '{text}'")
    return int(first), int(last)


def step_list(text: str | None, flag: str) -> tuple[int, ...] | None:
    """``0,200:300:50`` as (0, 200, 250, 300): numbers and FROM:TO:EVERY ranges, both ends included."""
    if text is None:
        return None
    steps: set[int] = set()
    for part in text.split(","):
        numbers = part.strip().split(":")
        if len(numbers) not in (1, 3) or not all(number.isdigit() for number in numbers):
            raise UsageError(f"{flag} takes steps such as 0,100,200:400:50 (FROM:TO:EVERY), not '{part}'")
        if len(numbers) == 1:
            steps.add(int(numbers[0]))
        else:
            start, stop, every = map(int, numbers)
            if every < 1 or stop < start:
                raise UsageError(f"{flag}: '{part}' needs FROM <= TO and EVERY >= 1")
            steps |= set(range(start, stop + 1, every))
    return tuple(sorted(steps))


def worker(text: str) -> tuple[int, int]:
    """``R/W`` as (R, W)."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise UsageError(f"--worker takes R/W with 0 <= R < W, for example 0/4, not '{text}'")
    return int(number), int(count)


def weighted(texts: list[str], flag: str) -> list[tuple[Path, float]]:
    """``PATH=WEIGHT`` each, as (path, weight); the last ``=`` counts."""
    pairs = []
    for text in texts:
        path, equals, weight = text.rpartition("=")
        try:
            pairs.append((Path(path), float(weight)))
        except ValueError:
            equals = ""
        if not (path and equals):
            raise UsageError(
                f"{flag} takes PATH=WEIGHT, for example data/wiki_..._shuffle_idx.npy=0.7, not '{text}'"
            )
    return pairs


class After:
    """Where the option of a command stands that is no setting: behind the flag of this field, in its panel.

    An option without it stands before all flags.
    """

    def __init__(self, field: str):
        self.field = field


def stage(
    app: typer.Typer, name: str, example: str, settings: str = "", experiment: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function that takes settings, and perhaps further options.

    It is called with the section ``name`` of the experiment under the flags; ``given``, where it has such a parameter,
    names the fields that flags gave.

    Args:
        settings: ``module:Class`` of those that are no section of an experiment.
        experiment: whether they are nevertheless given what it says for all stages.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def stub() -> None: ...

        stub.__doc__ = function.__doc__
        stub.__dict__["signature"] = lambda: _called_by_flags(name, settings, experiment, function)
        app.command(name, epilog=f"Example: {example}")(stub)
        return function

    return register


def completed(command: Any) -> Any:
    """A command of `stage` with its options, and any other as it is."""
    signature = getattr(command.callback, "signature", None)
    if signature is None:
        return command
    whole = typer.Typer(rich_markup_mode=command.rich_markup_mode, add_completion=False)
    whole.command(command.name, epilog=command.epilog, help=command.help)(signature())
    return typer.main.get_command(whole)


def refuse_twice(command: Any, words: list[str]) -> None:
    """Refuse an option that is given twice where it is no list; the last one would count, without a word.

    Raises:
        UsageError: names it.
    """
    context = typer.Context(command)
    try:
        order = command.make_parser(context).parse_args(list(words))[2]
    except Exception:  # what is wrong otherwise is said by the command
        return
    for option in order:
        if (
            not (option.multiple if hasattr(option, "multiple") else option.nargs < 0)
            and order.count(option) > 1
        ):
            raise UsageError(f"{'/'.join((*option.opts, *option.secondary_opts))}: given twice; keep one")


def _called_by_flags(
    section: str, named: str, shared: bool, function: Callable[..., None]
) -> Callable[..., None]:
    """A function of flags, with the signature that typer reads."""
    from curator.artifacts.flags import flags_of, merge_flags
    from curator.artifacts.schema import section_of
    from curator.settings import Experiment as Whole
    from curator.settings import load_experiment

    schema = resolve_name(named) if named else section_of(Whole.model_fields[section].annotation)
    flags = list(flags_of(schema))
    signature, kind = inspect.signature(function), inspect.Parameter.KEYWORD_ONLY
    behind: dict[str, list[inspect.Parameter]] = {}
    for other in signature.parameters.values():
        if other.name not in ("settings", "given"):
            after = [one.field for one in get_args(other.annotation) if isinstance(one, After)] or [""]
            behind.setdefault(after[0], []).append(other.replace(kind=kind))
    parameters = behind.get("", [])
    if shared or not named:
        parameters.append(inspect.Parameter("experiment", kind, default=None, annotation=Experiment))
    for flag in flags:
        parameters.append(_parameter(flag))
        for other in behind.get(flag.place[-1], ()):
            get_args(other.annotation)[1].rich_help_panel = flag.flag.panel or None
            parameters.append(other)

    def call(experiment: Path | None = None, **values: Any) -> None:
        whole = load_experiment(experiment) if experiment else Whole()
        before = whole.shared(schema) if named else whole.said_for(section)
        merged: dict[str, Any] = {}
        given = []
        for flag in flags:
            value = _read(flag, values.pop(_identifier(flag)))
            if value is None:
                continue
            pairs = zip((flag.place, flag.pair), value) if flag.pair else [(flag.place, value)]
            for place, one in pairs:
                inner = merged
                for name in place[:-1]:
                    inner = inner.setdefault(name, {})
                inner[place[-1]] = one
                given.append(".".join(place))
        made = merge_flags(schema, merged, before)
        function(made, **values, **({"given": given} if "given" in signature.parameters else {}))

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    call.__doc__ = function.__doc__
    return call


def _identifier(flag: "Flagged") -> str:
    return "_".join(flag.place)


def _parameter(flag: "Flagged") -> inspect.Parameter:
    kind, more = _text_type(flag)
    says = flag.says.replace("[", "\\[")
    says += f" \\[default: {flag.default}]" if flag.default else ""
    shown: dict[str, Any] = {"help": says, "show_default": False, "rich_help_panel": flag.flag.panel or None}
    name = f"--{flag.name}" + (f"/--{flag.flag.opposite}" if flag.flag.opposite else "")
    asked = typer.Argument(**shown) if flag.flag.argument else typer.Option(name, **shown, **more)
    switch = kind is bool and not flag.flag.opposite
    annotation: Any = Annotated[kind if switch or flag.required else kind | None, asked]
    default = inspect.Parameter.empty if flag.required else False if switch else None
    name = _identifier(flag)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _text_type(flag: "Flagged") -> tuple[Any, dict[str, Any]]:
    """What typer reads of a flag, and its range."""
    from curator.artifacts.schema import limits, members

    member = members(flag.kind)[0]
    metavar = {"metavar": flag.flag.text} if flag.flag.text else {}
    if flag.is_range or _is_steps(flag):
        return str, metavar
    if get_origin(member) is tuple:
        return list[Path] if members(get_args(member)[0])[0] is Path else list[str], metavar
    if metavar:
        return str, metavar
    if member in (int, float):
        return member, _in_words(member, limits(flag.kind))
    return (member if member in (bool, Path) else str), {}


def _in_words(number: type, bounds: dict[str, float]) -> dict[str, Any]:
    """The range as typer would show it; the rule itself is the field's, whose words say more than typer's."""
    low = [f"{bounds[name]}{sign}" for name, sign in (("gt", "<"), ("ge", "<=")) if name in bounds]
    high = [f"{sign}{bounds[name]}" for name, sign in (("lt", "<"), ("le", "<=")) if name in bounds]
    if low and not high:
        low, high = [], [f"{'>=' if 'ge' in bounds else '>'}{bounds.get('ge', bounds.get('gt'))}"]
    said = "".join([*low, "x", *high])
    return {"metavar": f"<{number.__name__} range> [{said}]"} if bounds else {}


def _is_steps(flag: "Flagged") -> bool:
    from curator.artifacts.schema import members

    member = members(flag.kind)[0]
    return get_origin(member) is tuple and len(members(get_args(member)[0])) > 1


def _read(flag: "Flagged", value: Any) -> Any:
    if value is None or (value is False and not flag.flag.opposite):
        return None
    if flag.is_range:
        return span(value, f"--{flag.name}")
    return step_list(value, f"--{flag.name}") if _is_steps(flag) else value


Experiment = Annotated[
    Path | None,
    typer.Option("--experiment", "-e", help="Experiment file (YAML); flags override it.", show_default=False),
]
