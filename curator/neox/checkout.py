"""Which GPT-NeoX checkouts there are, of which generation, and whether they have what the patches hook into.

Only their source is read; nothing of them is imported. A generation is told by what its code does, never by a
folder's name or a version number: HEAD wraps its loaders in a function of their own; 2.x takes a pipeline of one
stage for none; v1.0, which trained Pythia, takes it for one.
"""

import ast
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from curator.errors import CuratorError, UsageError

CACHE = Path(".cache") / "mda-curator" / "gpt-neox"
CLONE = "git clone https://github.com/EleutherAI/gpt-neox, then set NEOX_HOME to that folder"
GENERATIONS = ("HEAD", "v1.0", "2.x")

TRAINING = "megatron/training.py"
DATA = "megatron/data/data_utils.py"
MODEL = "megatron/model/gpt2_model.py"
TRANSFORMER = "megatron/model/transformer.py"
ARGUMENTS = "megatron/neox_arguments/arguments.py"

HOOK_POINTS: dict[tuple[str, str], tuple[str, ...]] = {
    (TRAINING, "_get_batch"): ("neox_args", "tokenizer", "keys", "data", "datatype"),
    (TRAINING, "train_step"): ("neox_args", "timers", "data_iterator", "model", "optimizer", "lr_scheduler"),
    (TRAINING, "pretrain"): ("neox_args",),
    (TRAINING, "setup_model_and_optimizer"): ("neox_args",),
    (DATA, "make_data_loader"): ("dataset", "neox_args"),
    (DATA, "get_normalized_weights_and_num_samples"): ("weights", "num_samples"),
    (DATA, "build_train_valid_test_datasets"): ("data_prefix",),
    (MODEL, "cross_entropy"): ("output", "labels", "_fp16"),
    (TRANSFORMER, "ParallelSelfAttention"): (),
}
"""(file, function or class) that the patches wrap or look for, and the parameters it must begin with."""

SOURCE_MARKS: dict[str, tuple[str, ...]] = {
    TRAINING: ("cross_entropy", "_get_batch("),
    DATA: ("train_dataloader = make_data_loader(", "DistributedBatchSampler(", "GPT2Dataset("),
    TRANSFORMER: ("self.query_key_value =", "self.dense =", "self.num_attention_heads_per_partition ="),
}
"""What must stand in a file beside its hook points."""


@dataclass(frozen=True)
class Checkout:
    """A GPT-NeoX checkout that the patches know.

    Attributes:
        home: its folder; generation: HEAD, v1.0 or 2.x.
        loader_builder: the function of ``megatron.training`` that makes the data loaders.
    """

    home: Path
    generation: str
    loader_builder: str


def is_checkout(folder: Path) -> bool:
    """Whether ``folder`` looks like GPT-NeoX at all."""
    return (folder / TRAINING).is_file()


def candidates(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Folders to look at: ``$NEOX_HOME`` alone where it is set, else every checkout in the cache folder."""
    environ = os.environ if environ is None else environ
    if environ.get("NEOX_HOME"):
        return [Path(environ["NEOX_HOME"]).expanduser()]
    cache = Path(environ.get("HOME") or Path.home()) / CACHE
    return [path for path in sorted(cache.glob("*")) if is_checkout(path)]


def path_for_make(environ: Mapping[str, str] | None = None) -> tuple[str, str | None]:
    """The PATH under which GPT-NeoX's make finds this Python, as ``python -m neox_patches`` sets it.

    The Makefile of the index helper calls ``python3 -m pybind11``: whichever python3 comes first.

    Returns:
        (PATH, the other python3 that would be found without; None where this one is, or has no python3 to offer).
    """
    path = (os.environ if environ is None else environ).get("PATH", os.defpath)
    own = Path(sys.executable).parent
    found = shutil.which("python3", path=path)
    if not (own / "python3").exists() or (found and os.path.samefile(Path(found).parent, own)):
        return path, None
    return f"{own}{os.pathsep}{path}", found or "no python3"


def find_checkouts(environ: Mapping[str, str] | None = None) -> list[Checkout]:
    """Every usable checkout among the `candidates`; others are left out."""
    found = []
    for folder in candidates(environ):
        try:
            found.append(inspect_checkout(folder))
        except CuratorError:
            continue
    return found


def choose_checkout(asked: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Checkout:
    """The checkout to run: the folder or generation ``asked`` for, else ``$NEOX_HOME``, else the only one found.

    Raises:
        UsageError: there is none, or more than one; says where was looked and how to get one.
        CuratorError: the one chosen lacks a hook point.
    """
    environ = os.environ if environ is None else environ
    cache = Path(environ.get("HOME") or Path.home()) / CACHE
    if asked is not None:
        folder = Path(asked).expanduser()
        places = [folder, cache / str(asked)]
        for place in places:
            if is_checkout(place):
                return inspect_checkout(place)
        looked = " and ".join(
            map(str, places if str(asked) in GENERATIONS or "/" not in str(asked) else places[:1])
        )
        raise UsageError(f"no GPT-NeoX checkout (no {TRAINING}) in {looked}; {CLONE}")
    if environ.get("NEOX_HOME"):
        folder = Path(environ["NEOX_HOME"]).expanduser()
        if not is_checkout(folder):
            wrong = f"has no {TRAINING}" if folder.is_dir() else "is not there"
            raise UsageError(f"NEOX_HOME is {folder}, which {wrong}; {CLONE}")
        return inspect_checkout(folder)
    if is_checkout(Path.cwd()):
        return inspect_checkout(Path.cwd())
    there = candidates(environ)
    if len(there) == 1:
        return inspect_checkout(there[0])
    if not there:
        raise UsageError(f"no GPT-NeoX checkout: NEOX_HOME is not set, and there is none in {cache}; {CLONE}")
    raise UsageError(
        f"several GPT-NeoX checkouts: {', '.join(map(str, there))}; set NEOX_HOME to the one to train with"
    )


def inspect_checkout(home: Path) -> Checkout:
    """The generation of the checkout at ``home``, its hook points checked.

    Raises:
        CuratorError: a file cannot be parsed (tag v2.0), or a hook point is missing; says what was looked for.
    """
    home = home.absolute()
    if not is_checkout(home):
        raise CuratorError(f"{home}: no GPT-NeoX checkout (no {TRAINING}); {CLONE}")
    for path in sorted((home / "megatron" / "neox_arguments").glob("*.py")):
        _parse(path)
    trees = {name: _parse(home / name) for name in (TRAINING, DATA, MODEL, TRANSFORMER)}
    problems = list(_missing(trees, home))
    defined = _definitions(trees[DATA])
    if "shift_and_wrap_data_loaders" in defined:
        generation, builder = "HEAD", "build_train_valid_test_data_loaders"
    else:
        builder = "build_train_valid_test_data_iterators"
        arguments = (home / ARGUMENTS).read_text()
        marks = {
            name: f'"is_pipe_parallel", self.pipe_parallel_size >= {stages}' in arguments
            for name, stages in (("v1.0", 1), ("2.x", 2))
        }
        generation = next((name for name, found in marks.items() if found), "")
        if not generation:
            problems.append(
                f"{ARGUMENTS}: is_pipe_parallel set from pipe_parallel_size >= 1 (v1.0) or >= 2 (2.x)"
            )
    if builder not in defined:
        problems.append(f"{DATA}: function {builder}, or shift_and_wrap_data_loaders (HEAD)")
    if problems:
        raise CuratorError(
            f"{home}: this GPT-NeoX is of no generation that the patches know ({', '.join(GENERATIONS)}). Looked "
            "for, and not found:\n  "
            + "\n  ".join(problems)
            + "\nCheck out the main branch, tag v1.0, or a commit "
            "from 6534f19e on, or report the commit that you use"
        )
    return Checkout(home, generation, builder)


def _parse(path: Path) -> ast.Module:
    if not path.is_file():
        return ast.Module(body=[], type_ignores=[])
    try:
        return ast.parse(path.read_text())
    except SyntaxError as error:
        raise CuratorError(
            f"{path}:{error.lineno}: this checkout cannot be imported ({error.msg}). Tag v2.0 is such a one: its "
            "docstring is not closed; check out 6534f19e, a few commits later, or tag v1.0, or the main branch"
        ) from error


def _definitions(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """Function or class at the top level -> its parameters."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = tuple(argument.arg for argument in node.args.args)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = ()
    return found


def _missing(trees: Mapping[str, ast.Module], home: Path) -> Iterator[str]:
    for (file, name), parameters in HOOK_POINTS.items():
        found = _definitions(trees[file]).get(name)
        wanted = f"{name}({', '.join(parameters)}, ...)" if parameters else f"class {name}"
        if found is None:
            yield f"{file}: {wanted}"
        elif found[: len(parameters)] != parameters:
            yield f"{file}: {wanted}; there it is {name}({', '.join(found)})"
    for file, marks in SOURCE_MARKS.items():
        text = (home / file).read_text() if (home / file).is_file() else ""
        yield from (f"{file}: '{mark}'" for mark in marks if mark not in text)
