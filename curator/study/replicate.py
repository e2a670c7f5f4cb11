"""One training seed of a study: corpus, baseline, scan, ranking, then every arm from the same checkpoint.

What it leaves behind can be looked at with ``curator show``, scanned or ranked again. A stage that is finished is not
done again; a folder of another study is emptied first.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from curator.artifacts.files import is_temporary, load_json, save_json
from curator.corpus import Corpus, EmbeddedCorpus, build_embedded
from curator.corpus.held_out import held_out_rows
from curator.errors import CuratorError
from curator.evaluate.curves import Measured
from curator.evaluate.prepare import prepare as prepare_measures
from curator.evaluate.quantities import Quantities
from curator.plan.plan import Plan
from curator.ranking.candidates import Source
from curator.ranking.ranking import Ranking
from curator.ranking.run import rank
from curator.scan.formation import crossing
from curator.scan.scan import Scan, scan_checkpoints
from curator.statistics.settings import StatisticsSettings
from curator.statistics.stage import statistics
from curator.study.plans import Plans
from curator.study.result import Result
from curator.study.study import Study
from curator.training import train
from curator.training.model import architecture_of
from curator.units import Architecture, ProbeSettings, draw_repeated, kinds, parse_units

Say = Callable[[str], object]
"""Called with the name of each stage when it is finished."""
MakeRows = Callable[[Any, int, Ranking, Path, Say], tuple[dict[str, Corpus], dict[str, Any]]]
"""From study, seed, ranking and the seed's folder: rows that arms insert, by name, and what the result says of them."""
STAGES = ("corpus", "baseline", "scan", "ranking")
"""Before the arms."""


@dataclass(frozen=True)
class Prepared:
    """What a seed has before its arms; ``plans`` is None where no head formed."""

    seed: int
    corpus: Corpus
    result: Result
    plans: Plans | None


class Replicate:
    """One seed's run in ``folder``.

    Args:
        make_rows: a stage between ranking and arms, where arms need rows that are made.
    """

    def __init__(
        self, study: Study, seed: int, folder: Path, say: Say = str, make_rows: MakeRows | None = None
    ):
        self.study = study
        self.seed = seed
        self.folder = folder
        self.say = say
        self.make_rows = make_rows
        self.config = study.train.changed(seed=seed)
        self.probe = ProbeSettings.of(study.probe)
        self.sequences = draw_repeated(self.probe, self.config.vocab_size, self.config.seq_length)
        self._measures: Quantities | None = None

    def run(self) -> dict[str, Any]:
        """Do everything; the result as JSON (also in ``result.json``)."""
        finished = self.folder / "result.json"
        self._claim()
        if finished.is_file():
            there: dict[str, Any] = load_json(finished)
            return there
        result = {"identity": self._identity, **self._stages()}
        save_json(finished, result)
        return result

    @property
    def _identity(self) -> dict[str, Any]:
        return {"study": self.study.decided(), "seed": self.seed}

    def _claim(self) -> None:
        """Empty the folder where it holds another study's.

        Raises:
            CuratorError: it holds something else.
        """
        begun, finished = self.folder / "study.json", self.folder / "result.json"
        there = [load_json(file)["identity"] for file in (begun, finished) if file.is_file()]
        if there and all(identity == self._identity for identity in there):
            return
        if there:
            shutil.rmtree(self.folder)
        elif self.folder.is_dir() and any(not is_temporary(path) for path in self.folder.iterdir()):
            raise CuratorError(f"{self.folder}: holds something that no study made; choose another --out")
        save_json(begun, {"identity": self._identity})

    def _stages(self) -> dict[str, Any]:
        """All of them; without a head there is nothing to attribute, and the baseline is the last."""
        prepared = self.prepare()
        result, plans = prepared.result.content, prepared.plans
        if plans is None:
            return result
        if self.make_rows is not None:
            ranking = plans.source()[0]
            plans.rows, said = self.make_rows(self.study, self.seed, ranking, self.folder, self.say)
            result |= said
        for number, (run, arm) in enumerate(self.study.runs):
            plan = plans.plan(arm, number)
            plan.save(self.folder / "plans" / run)
            first, last = result["window"][0], result["last_step"]
            result["curves"][run] = self.train(prepared.corpus, run, plan, first, last)
            self.say(run)
        return result

    def prepare(self) -> "Prepared":
        """What comes before the arms, from disk where it is there."""
        self._claim()
        study = self.study
        corpus = build_embedded(self.folder / "corpus", study.corpus(self.seed))
        self.say("corpus")
        baseline = self.train(corpus, "baseline", None)
        self.say("baseline")
        scan = scan_checkpoints(
            self.folder / "baseline",
            self.folder / "scan",
            kinds=["induction"],
            settings=self.probe,
            corpus=self.folder / "corpus",
        )
        unit = scan.best("induction")[0]
        layer, head = map(int, unit.partition(":")[2].split("."))
        result = {"unit": unit, "layer": layer, "head": head, **self._formation(scan, unit)}
        result["curves"] = {"baseline": baseline}
        self.say("scan")
        if result["attribution_step"] is None:
            return Prepared(self.seed, corpus, Result(result), None)
        orders = self._rank(result)
        ranking, result["ranked"] = next(iter(orders.values()))
        plans = Plans(study=study, seed=self.seed, corpus=corpus, orders=orders, window=result["window"][0])
        top = plans.choose("top")
        top.save(self.folder / "top")
        drills, chosen = corpus.categories() == "drill", (top.samples, ranking.samples)
        result["top_drill_share"] = [float(drills[samples].mean()) for samples in chosen]
        self.say("ranking")
        return Prepared(self.seed, corpus, Result(result), plans)

    def _formation(self, scan: Scan, unit: str) -> dict[str, Any]:
        """Where to attribute, and where the window ends."""
        asked, steps = self.study.window, self.config.steps
        curve = scan.curve(unit)
        past = scan.steps[(scan.steps >= (asked.start or asked.before)) & (curve >= asked.attribution)]
        end = crossing(scan.steps, curve, asked.end)
        stop = steps if end is None else min(int(end) + self.study.measure_every, steps)
        step = int(past[0]) if len(past) else None
        start = asked.start
        if step is not None and asked.before is not None:
            start = step - asked.before
        if step is not None and asked.after is not None:
            stop = min(step + asked.after, steps)
        last = self.study.last_step if asked.after is None else stop
        found = {"final_score": float(curve[-1]), "attribution_step": step, "window": [start, stop]}
        return {**found, "last_step": last}

    def train(
        self, corpus: Corpus, run: str, plan: Plan | None, first: int = 0, last: int = 0
    ) -> dict[str, Any]:
        """Train the baseline, or an arm from the window's start, and measure on the way.

        Extra steps make an arm so much longer, on the baseline's learning rates.
        """
        out, file = self.folder / run, self.folder / "curves" / f"{run}.json"
        if file.is_file():
            saved: dict[str, Any] = load_json(file)
            return saved
        shutil.rmtree(out, ignore_errors=True)  # half a curve cannot be gone on with
        config, study = self.config, self.study
        measured = Measured(self.sequences, study.measure_every, self._measured_on(corpus))
        asked: dict[str, Any] = {"checkpoint_steps": range(0, config.steps + 1, study.checkpoint_every)}
        if plan is not None:
            extra = plan.n_slots // plan.batch_size - config.steps
            config = config.changed(steps=config.steps + extra, decay_steps=config.steps)
            start = self.folder / "baseline" / f"step{first}"
            asked = {"plan": plan, "start_from": start, "checkpoint_steps": [], "stop_step": last + extra}
        train(config, corpus, out, on_step=measured, **asked)
        save_json(file, measured.curves)
        return measured.curves

    def _measured_on(self, corpus: Corpus) -> Quantities:
        """What is measured on the way, of every run alike; the metric always, since by it a head is found."""
        if self._measures is not None:
            return self._measures
        study, config = self.study, self.config
        shape: Any = Architecture(architecture_of(config))
        held_out = None
        if study.reads_rows:
            assert isinstance(corpus, EmbeddedCorpus)
            held_out = torch.from_numpy(held_out_rows(corpus, study.held_out_rows, self.seed))
        asks = [f"induction:*:{probe}" for probe in study.probes] or ["induction:*"]
        self._measures = prepare_measures(
            study.changed(measure=tuple(dict.fromkeys(("metric", *study.measure)))),
            replace(self.probe, corpus=corpus, tokenizer=corpus.tokenizer_file),
            kinds={kind: unit.instances(shape) for kind, unit in kinds().items()},
            probes=parse_units(asks, shape, study.probe.name),
            vocab_size=config.vocab_size,
            positions=config.seq_length,
            held_out=held_out,
            tokenizer=corpus.tokenizer_file,
            tokens=study.probe.tokens,
        )
        return self._measures

    def _rank(self, found: dict[str, Any]) -> dict[str, Source]:
        """Every order of the window's samples: by influence, one unit per probe, and by statistics."""
        study, corpus = self.study, self.folder / "corpus"
        samples = tuple(step * self.config.batch_size for step in found["window"])
        model = str(self.folder / "baseline" / f"step{found['attribution_step']}")
        asked = study.rank.changed(
            model=model,
            corpus=corpus,
            units=tuple(f"{found['unit']}:{probe}" for probe in study.probes) or (found["unit"],),
            samples=samples,
            probe=study.probe,
        )
        ranking = rank(asked, self.folder / "ranking")
        words = study.probes or ("influence",)
        orders: dict[str, Source] = {
            word: (ranking, unit) for word, unit in zip(words, ranking.units, strict=True)
        }
        if study.statistics:
            told = StatisticsSettings(
                corpus=corpus,
                statistics=study.statistics,
                samples=samples,
                model=model if "loss" in study.statistics else None,
                out=self.folder / "statistics",
            )
            known = statistics(told)
            orders |= {name: (known, f"statistic:{name}") for name in study.statistics}
        return orders
