"""The sequences on which the probes of a request are taken: given ones, or drawn from ids that stand for something."""

from pathlib import Path

from transformers import PreTrainedModel

from curator.artifacts.fields import PAPER
from curator.artifacts.fingerprints import fingerprint
from curator.corpus import Corpus
from curator.progress import remark
from curator.ranking.ranking import open_manifest
from curator.ranking.settings import RankSettings
from curator.units import ProbeSettings, Sequences, Unit, load_sequences
from curator.units.probe_ids import ProbeIds, find_probe_ids


class Probes:
    """Draws the sequences of each unit.

    Args:
        corpus: whose ids stand in for those of a tokenizer, where none is known; what probes like the corpus draw from.
        ranked: the samples that are scored.
        say: whether to print what is unusual.

    Attributes:
        ids: what is drawn from; None where the tokens are given.
    """

    def __init__(
        self,
        request: RankSettings,
        model: PreTrainedModel,
        corpus: Corpus | None,
        ranked: range | None = None,
        say: bool = True,
    ):
        self.request, self.config, self.ranked, self._say = request, model.config, ranked, say
        self._noted: set[str] = set()
        self.ids: ProbeIds | None = None
        if request.probe.tokens is None:
            self.ids = find_probe_ids(
                request.probe.ids,
                self.config.vocab_size,
                tokenizer=request.tokenizer,
                model=request.model,
                corpus=corpus,
            )
            if say and self.ids.unusual:
                remark(f"probe ids: {self.ids}")

    def sequences(self, unit: Unit) -> Sequences:
        """Those of ``unit``.

        Raises:
            CuratorError: the given tokens do not fit the model, or the ids are too few.
        """
        vocabulary, positions = self.config.vocab_size, self.config.max_position_embeddings
        if self.ids is None:
            assert self.request.probe.tokens is not None
            return load_sequences(self.request.probe.tokens, vocabulary, positions)
        settings = self.ids.of(ProbeSettings.of(self.request.probe), self.ranked)
        sequences = unit.sequences(settings, vocabulary, positions)
        asked = 2 * self.request.probe.max_length
        if self._say and asked > positions:
            remark(
                f"{unit.name}: probe sequences are at most {int(sequences.lengths.max())} tokens, not {asked}, "
                f"since the model has {positions} positions"
            )
        if self._say and unit.kind not in self._noted and not self.ids.holds(sequences):
            self._noted.add(unit.kind)
            remark(f"{unit.name}: its kind draws tokens of its own, which are not all among the probe ids")
        return sequences


def probe_fingerprint(sequences: Sequences) -> str:
    """Of what a probe is taken on."""
    control = [] if sequences.control is None else [sequences.control]
    return fingerprint([one.numpy() for one in (sequences.tokens, sequences.lengths, *control)])


def as_before(request: RankSettings, out: Path) -> RankSettings:
    """``request``, where it goes on with a ranking of an earlier version: as that would have understood it.

    Units were asked by `PAPER` where nothing was said; earlier, tokens were drawn from all ids of the vocabulary.
    """
    if not (out / "manifest.json").is_file():
        return request
    there, then = open_manifest(out), dict[str, str]()
    if "probe" not in there["request"]:
        then["name"] = request.probe.name or PAPER
    if "probe_ids" not in there and request.probe.ids == "auto":
        then["ids"] = "all"
    return request.resolved(probe=request.probe.changed(**then))
