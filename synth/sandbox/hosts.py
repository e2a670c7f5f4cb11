"""What differs between two hosts, or between two processes on one, and must not show in a text.

Every process gets `FIXED`: one hash seed, one locale, UTC. A generator is checked under all of `HOSTS`. The hash seed
is varied there although it is fixed everywhere else, since Python itself hashes otherwise from version to version: the
order of a set is refused, and not frozen.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Host:
    """One setting.

    Attributes:
        hash_seed: of Python's hashes of text, which decide on the order of sets.
        time_zone: as POSIX writes it, so that no file is needed: UTC0, XXX-9:30.
        environment: further variables, for what reads them behind our back.
        recursion: most frames; never fewer than Python's own number, which code may count on.
        more_memory: bytes beyond the limit, for code that goes on until there is none left.
        litter: seed of objects that lie in memory before the code is loaded, with holes among them: every address is
            another, and so is the order of sets of objects. 0 for none.
    """

    hash_seed: int = 0
    locale: str = "C.UTF-8"
    time_zone: str = "UTC0"
    environment: tuple[tuple[str, str], ...] = ()
    recursion: int = 1000
    more_memory: int = 0
    litter: int = 0

    def variables(self) -> dict[str, str]:
        """The whole environment of the process."""
        ours = {"PYTHONHASHSEED": str(self.hash_seed), "LC_ALL": self.locale, "TZ": self.time_zone}
        return ours | dict(self.environment)


FIXED = Host()
"""Where all texts are made."""
HOSTS = (
    FIXED,
    Host(hash_seed=1, locale="C", time_zone="XXX+11", litter=1),
    Host(hash_seed=2, time_zone="YYY-13:45", recursion=1500, litter=2, environment=(("HOME", "/root"),)),
    Host(hash_seed=3, locale="de_DE.UTF-8", recursion=1200, more_memory=1 << 25, litter=3),
    Host(hash_seed=4, locale="POSIX", more_memory=1 << 26, litter=4, environment=(("COLUMNS", "40"),)),
    Host(hash_seed=5, time_zone="ZZZ+3ZZD,M3.2.0,M11.1.0", recursion=2000, litter=5),
)
"""Where a generator must give the same."""
