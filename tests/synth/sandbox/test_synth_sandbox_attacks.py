"""No program gets out of the process, behind every set of locks that is accepted; and each would, without them.

`sandbox_attacks.py` holds the programs and `sandbox_world.py` what they are after. The policy is off: it would refuse
nearly all of them, which one test shows, and is tested in `test_synth_policy.py`.
"""

import os
from itertools import combinations

import pytest
from sandbox_attacks import ATTACKS, Attack
from sandbox_world import World, limits, run, worlds

from curator.errors import CuratorError
from synth.sandbox import LAYERS, Sandbox
from synth.sandbox.launcher import bubblewrap_works
from synth.sandbox.sandbox import NEEDED, probe
from synth.sandbox.seccomp import CALLS

SETS = [(*others, "seccomp") for n in range(3) for others in combinations(("namespaces", "landlock"), n)]
"""The sets of locks that may be found sufficient; bubblewrap goes with all of them."""
everywhere = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)


def succeeded(attack: Attack, layers: tuple[str, ...], unsafe: bool = False) -> tuple[bool, str]:
    """(whether it got what it was after or anything else, what it said)."""
    with worlds() as world:
        sandbox = Sandbox(limits(memory_bytes=1 << 29), unsafe, layers=layers, policy=False)
        text = run(world, _complete(world, attack), sandbox, attack.wait)
        spoiled = world.spoiled()
        seen = (
            attack.seen in spoiled
            or (attack.seen == "secret" and world.secret in text)
            or attack.seen in text.partition("exception: ")[0]
        )
    return seen or bool(spoiled) or world.secret in text, f"{text} {spoiled}"


def _complete(world: World, attack: Attack) -> str:
    soft, hard = world.core
    other = 4096 if soft != 4096 else 8192
    return f"LAST = {max(world.cpus)}\nSOFT = {min(other, hard) if hard >= 0 else other}\n{attack.source}"


@everywhere
def test_the_attack_is_real_where_nothing_is_locked(attack: Attack) -> None:
    if attack.forks and os.getuid() != 0:
        pytest.skip("RLIMIT_NPROC already stops it, for whoever is not root")
    if attack.capless and os.getuid() != 0:
        pytest.skip("whether it works depends on this machine's settings, for whoever is not root")
    success, said = succeeded(attack, (), unsafe=True)
    assert success is not (attack.always or attack.capless), said


def test_the_sets_that_are_attacked_are_all_that_are_accepted_here() -> None:
    every = [s for n in range(len(LAYERS)) for s in combinations(LAYERS[1:], n)]
    accepted = {s for s in every if set(NEEDED) <= set(probe(s)[1])}
    assert accepted <= set(SETS)
    if os.uname().machine in CALLS:
        assert accepted == set(SETS)


@pytest.mark.parametrize("layers", SETS, ids="+".join)
@everywhere
def test_no_attack_succeeds_behind_a_set_of_locks_that_is_accepted(
    attack: Attack, layers: tuple[str, ...]
) -> None:
    success, said = succeeded(attack, layers)
    assert not success, said


@pytest.mark.skipif(not bubblewrap_works()[0], reason="bubblewrap is not installed here")
@everywhere
def test_no_attack_succeeds_behind_bubblewrap_and_all_other_locks(attack: Attack) -> None:
    success, said = succeeded(attack, LAYERS)
    assert not success, said


@everywhere
def test_the_policy_refuses_the_attack_before_anything_runs(attack: Attack) -> None:
    with worlds() as world:
        text = run(world, _complete(world, attack), Sandbox(limits()))
        assert text.startswith("policy: ") and not world.spoiled()


def test_sets_of_locks_that_leave_something_open_are_refused_with_its_name() -> None:
    refused = 0
    for count in range(len(LAYERS) + 1):
        for layers in combinations(LAYERS, count):
            missing = [what for what in NEEDED if what not in probe(layers)[1]]
            if missing:
                refused += 1
                with pytest.raises(CuratorError, match=f"{', '.join(missing)} would stay open.*synth doctor"):
                    Sandbox(layers=layers)
    assert refused >= 3


def test_landlock_alone_does_not_count_as_files_shut_because_their_names_stay_visible() -> None:
    layers, shut = probe(("landlock",))
    if not layers[0].active:
        pytest.skip(f"no Landlock here: {layers[0].detail}")
    assert "files" not in shut and "stay visible" in layers[0].detail


def test_every_system_call_that_is_not_listed_is_refused() -> None:
    machine = os.uname().machine
    source = f"""
import ctypes
ALLOWED = {sorted(CALLS[machine].values())}
def g(rng, target_tokens):
    libc = ctypes.CDLL(None, use_errno=True)
    open_ones = []
    for number in range(500):
        if number not in ALLOWED and number not in (335, 336):  # uprobes' own, which kill whoever else calls them
            ctypes.set_errno(0)
            if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6) != -1 or ctypes.get_errno() != 1:
                open_ones.append(number)
    return repr(open_ones)
"""
    with worlds() as world:
        assert run(world, source, Sandbox(limits(), policy=False)) == "[]"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 is x86-64's")
def test_a_system_call_in_another_numbering_ends_the_process() -> None:
    source = """
import ctypes
def g(rng, target_tokens):
    ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 + 39))
    return "alive"
"""
    with worlds() as world:
        assert run(world, source, Sandbox(limits(), policy=False)).startswith("died: ")
