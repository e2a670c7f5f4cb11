"""Resource limits of the locked process; its parent watches the clock and the output.

Hard limits, so that no code can raise them again. The processor limit is soft one second before it is hard: the first
signal tells the parent why the process ended, and the second cannot be blocked.
"""

import resource


def limit(cpu_seconds: int, memory_bytes: int) -> None:
    """Apply them to this process, as far as the system knows them (macOS knows no RLIMIT_AS)."""
    for name, soft, hard in (
        ("RLIMIT_CPU", cpu_seconds, cpu_seconds + 1),
        ("RLIMIT_AS", memory_bytes, memory_bytes),
        ("RLIMIT_FSIZE", 0, 0),
        ("RLIMIT_CORE", 0, 0),
        ("RLIMIT_NOFILE", 16, 16),
        ("RLIMIT_NPROC", 1, 1),
        ("RLIMIT_MEMLOCK", 0, 0),
        ("RLIMIT_MSGQUEUE", 0, 0),
    ):
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError):  # `proof.py` finds out what that leaves open
            continue
