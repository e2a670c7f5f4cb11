"""``python -m neox_patches [--patch FILE] SCRIPT ARGUMENTS``: see --help."""

import argparse
import atexit
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

if __package__ in (None, ""):  # started by path, as DeepSpeed's launcher does
    sys.path[0] = str(Path(__file__).parent.parent)

from curator.errors import CuratorError, UsageError
from curator.neox.standing import INSIST
from curator.visible import note
from neox_patches.launch import ERRORS, INSISTED, PATCH, leave_error, run
from neox_patches.together import PeerRefused

EPILOG = f"""
examples:
  python -m neox_patches --patch study.yml deepy.py train.py -d configs pythia-14m.yml data.yml
  torchrun --nproc-per-node 8 -m neox_patches --patch study.yml train.py --megatron_config ...
  echo {PATCH}=/shared/study.yml >> .deepspeed_env     # instead of --patch; reaches every node

a patch file (docs/neox.md has every key):
  corpus: data/pythia/document         # what the plan's sample indices name
  plan: plan-top                       # from curator mask or curator inject
  emit:
    out: emitted
    steps: [{{from: 1000, to: 1999, every: 1}}]
    scores: [ranking]                  # queries of a ranking: influence scores while training
"""


def main(words: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 usage; an error that a user can mend is printed without a traceback."""
    parser = argparse.ArgumentParser(
        prog="python -m neox_patches",
        description="Run an unmodified GPT-NeoX checkout so that it follows a plan and emits per-sample quantities. "
        "Everything after the options is given to GPT-NeoX as it is.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--patch", type=Path, metavar="FILE", help=f"the patch file (else ${PATCH}; else no patches)"
    )
    parser.add_argument(
        "--neox",
        metavar="PLACE",
        help="the checkout: a folder, or HEAD, v1.0 in the cache folder (else $NEOX_HOME)",
    )
    parser.add_argument(
        "--insist",
        action="append",
        default=[],
        metavar="WHAT",
        help=f"do what is otherwise refused; it is recorded (also ${INSISTED}, with commas between). "
        + "; ".join(f"{name}: {says}" for name, says in INSIST.items()),
    )
    words = sys.argv[1:] if words is None else words
    taking = ("--patch", "--neox", "--insist")
    known: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0].split("=")[0] in (*taking, "-h", "--help"):
        known.append(rest.pop(0))
        if rest and "=" not in known[-1] and known[-1] in taking:
            known.append(rest.pop(0))
    if not words:
        parser.print_help()
        return 2
    options = parser.parse_args(known)
    try:
        run(options.patch, options.neox, rest, options.insist)
    except CuratorError as error:
        text = str(error)
        if text.startswith("Caught "):  # within a DataLoader worker, whose traceback comes as text
            text = text.rpartition("CuratorError: ")[2].strip()
        note(f"error: {text}")
        if not isinstance(error, PeerRefused):
            leave_error(text)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def leave(code: int) -> NoReturn:
    """End the process.

    After an error among ranks Python is not taken apart: while it is, a thread of PyTorch's gloo backend now and then
    aborts the process ("terminate called without an active exception"), and its end would no longer say what was wrong.
    """
    ranks = sys.modules.get("torch.distributed")
    if code and ranks is not None and ranks.is_available() and ranks.is_initialized():
        if ERRORS in os.environ:  # the launcher kills the other ranks when one ends: let them say why, too
            time.sleep(1)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
