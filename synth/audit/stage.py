"""The stages `audit patterns` and `audit data`: from their settings to what was found.

Scoring rows needs the models, which take seconds to import; counting patterns does not, and does not wait for them.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from curator.artifacts.claim import lock_folder
from curator.artifacts.files import remove_temporaries, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.corpus.token_text import read_tokenizer
from curator.errors import CuratorError
from curator.ranking.ranking import Ranking
from synth.audit import patterns
from synth.audit.settings import AuditDataSettings, AuditPatternsSettings
from synth.patterns.audit import FILE, PatternAudit
from synth.patterns.registry import Registry
from synth.render.folder import Rows

if TYPE_CHECKING:
    from synth.audit.rows import RowsAudit


def audit_patterns(settings: AuditPatternsSettings) -> PatternAudit:
    """Test every pattern on samples that were held out, into ``audit.json`` beside the patterns.

    Raises:
        CuratorError: another ranking, corpus or tokenizer than the patterns were distilled from, or nothing held out.
    """
    registry = Registry.open(settings.patterns)
    made_of = registry.header["samples"]
    ranking = Ranking.open(settings.ranking or Path(made_of["ranking"]))
    corpus = ranking.open_corpus(settings.corpus)
    tokens = registry.tokenizer_file(settings.tokenizer)
    known = read_tokenizer(tokens)
    found = fingerprint(tokens.read_bytes())
    if found != made_of["tokenizer_fingerprint"]:
        raise CuratorError(
            f"{registry.path} was distilled with the tokenizer of fingerprint {made_of['tokenizer_fingerprint']}, but "
            f"{tokens} has {found}: give that tokenizer"
        )
    folder = registry.path.parent
    file, parts = folder / FILE, folder / "audit-parts"
    with lock_folder(folder):
        remove_temporaries(folder)
        result = patterns.finished(file, registry, ranking, known, settings.seed)
        if result is None:
            seed, workers = settings.seed, settings.workers
            result = patterns.audit_patterns(
                registry, ranking, corpus, known, seed=seed, workers=workers, parts=parts
            )
            save_json(file, result)
        shutil.rmtree(parts, ignore_errors=True)
    return PatternAudit(file, result)


def audit_data(settings: AuditDataSettings) -> "RowsAudit":
    """Score rendered rows as the natural ones were, into the folder ``settings.out``.

    Raises:
        CuratorError: rows of another width, a ranking without queries, or the folder holds another audit.
    """
    from curator.models.devices import check_device
    from synth.audit import rows

    check_device(settings.device)
    made, ranking = Rows.open(settings.rows), Ranking.open(settings.ranking)
    rows.audit_data(made, ranking, ranking.open_corpus(settings.corpus), settings)
    return rows.RowsAudit.open(settings.out)
