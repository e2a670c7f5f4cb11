"""One training seed of a study: corpus, baseline, scan, ranking, then every arm from the same checkpoint.

What it leaves behind can be looked at with ``curator show``, scanned or ranked again. A stage that is finished is not
done again; a folder of another study is emptied first.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curator.artifacts.files import is_temporary, load_json, save_json
from curator.artifacts.unit_names import UnitName
from curator.corpus import Corpus, EmbeddedCorpus, build_embedded, open_corpus
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
from curator.study.trainer import Run
from curator.study.trainers import trainer_of
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
        self.trainer = trainer_of(study)
        self._measures: Quantities | None = None

    def run(self) -> dict[str, Any]:
        """Do everything, one after the other; the result as JSON (also in ``result.json``)."""
        for run in self.begin():
            self.arm(run)
        return self.finish()

    def begin(self) -> list[str]:
        """What comes before the arms, and their plans; the arms that are left to train, in any order or at once.

        Without a head there is nothing to attribute, and the baseline is the last.
        """
        self._claim()
        if self._is_finished:
            return []
        prepared = self.prepare()
        result, plans = prepared.result.content, prepared.plans
        if plans is not None:
            result |= self._make_plans(plans)
        save_json(self._prepared, result)
        return [] if plans is None else [run for run, _ in self.study.runs if not self._curve(run).is_file()]

    def _make_plans(self, plans: Plans) -> dict[str, Any]:
        """The plan of every run, and what the result says of rows that were made; a curve of another plan goes."""
        said: dict[str, Any] = {}
        if self.make_rows is not None:
            ranking = plans.source()[0]
            plans.rows, said = self.make_rows(self.study, self.seed, ranking, self.folder, self.say)
        for number, (run, arm) in enumerate(self.study.runs):
            plan, place = plans.plan(arm, number), self.folder / "plans" / run
            if not (place / "plan.json").is_file() or Plan.load(place).fingerprint() != plan.fingerprint():
                self._curve(run).unlink(missing_ok=True)
                plan.save(place)
        return said

    def arm(self, run: str) -> None:
        """Train one run, after `begin`."""
        found = load_json(self._prepared)
        plan = Plan.load(self.folder / "plans" / run)
        self.train(open_corpus(self.folder / "corpus"), run, plan, found["window"][0], found["last_step"])
        self.say(run)

    def finish(self) -> dict[str, Any]:
        """The result, when all arms are trained."""
        if not self._is_finished:
            result = {"identity": self._identity, **load_json(self._prepared)}
            runs = [run for run, _ in self.study.runs] if result["attribution_step"] is not None else []
            result["curves"] |= {run: load_json(self._curve(run)) for run in runs}
            save_json(self._result, result)
        there: dict[str, Any] = load_json(self._result)
        return there

    @property
    def _is_finished(self) -> bool:
        return self._result.is_file() and load_json(self._result)["identity"] == self._identity

    @property
    def _result(self) -> Path:
        return self.folder / "result.json"

    @property
    def _prepared(self) -> Path:
        return self.folder / "prepared.json"

    def _curve(self, run: str) -> Path:
        return self.folder / "curves" / f"{run}.json"

    @property
    def _identity(self) -> dict[str, Any]:
        return {"study": self.study.decided(), "seed": self.seed}

    @property
    def _before_arms(self) -> dict[str, Any]:
        return {"study": self.study.decided_before_arms(), "seed": self.seed}

    def _claim(self) -> None:
        """Empty the folder where it holds another study's.

        Raises:
            CuratorError: it holds something else.
        """
        begun, identity = self.folder / "study.json", self._before_arms
        there = [load_json(file)["identity"] for file in (begun, self._result) if file.is_file()]
        if there and there[0] == identity:
            return
        if there:
            shutil.rmtree(self.folder)
        elif self.folder.is_dir() and any(not is_temporary(path) for path in self.folder.iterdir()):
            raise CuratorError(f"{self.folder}: holds something that no study made; choose another --out")
        save_json(begun, {"identity": identity})

    def prepare(self) -> "Prepared":
        """What comes before the arms, from disk where it is there."""
        self.trainer.check()
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
        layer, head = UnitName.parse(unit).numbers
        result = {"unit": unit, "layer": layer, "head": head, **self._formation(scan, unit)}
        result["curves"] = {"baseline": baseline}
        self.say("scan")
        if result["attribution_step"] is None:
            return Prepared(self.seed, corpus, Result(result), None)
        orders = self._rank(result)
        result["ranked"] = next(iter(orders.values()))[1]
        first, last = result["window"]
        plans = Plans(study=study, seed=self.seed, corpus=corpus, orders=orders, window=(first, last))
        top = plans.choose("top")
        top.save(self.folder / "top")
        drills, chosen = corpus.categories() == "drill", (top.samples, plans.samples)
        result["top_drill_share"] = [float(drills[samples].mean()) for samples in chosen]
        self.say("ranking")
        return Prepared(self.seed, corpus, Result(result), plans)

    def _formation(self, scan: Scan, unit: str) -> dict[str, Any]:
        """Where to attribute, and where the window ends."""
        asked, steps = self.study.window, self.config.steps
        curve = scan.curve(unit)
        end = crossing(scan.steps, curve, asked.end)
        stop = steps if end is None else min(int(end) + self.study.measure_every, steps)
        step = self._attribution(scan.steps, curve)
        start = asked.start
        if step is not None and asked.before is not None:
            start = step - asked.before
        if step is not None and asked.after is not None:
            stop = min(step + asked.after, steps)
        last = self.study.last_step if asked.after is None else stop
        found = {"final_score": float(curve[-1]), "attribution_step": step, "window": [start, stop]}
        return {**found, "last_step": last}

    def _attribution(self, steps: np.ndarray, curve: np.ndarray) -> int | None:
        """The first of these checkpoints' steps at which influence is computed."""
        window = self.study.window
        past = steps[(steps >= (window.start or window.before or 0)) & (curve >= window.attribution)]
        return int(past[0]) if len(past) else None

    def _is_past_window(self, curves: dict[str, Any]) -> bool:
        """Whether the head that is best at the last point of these curves has an attribution that lies ``after`` steps
        back, so that the baseline has nothing more to tell."""
        window, every, now = self.study.window, self.study.checkpoint_every, curves["steps"][-1]
        if window.after is None or now % every:
            return False
        last = np.array(curves["scores"][-1])
        layer, head = divmod(int(last.argmax()), last.shape[1])
        steps, scores = np.array(curves["steps"]), np.array([one[layer][head] for one in curves["scores"]])
        step = self._attribution(steps[steps % every == 0], scores[steps % every == 0])
        return step is not None and step + window.after <= now

    def train(
        self, corpus: Corpus, run: str, plan: Plan | None, first: int = 0, last: int = 0
    ) -> dict[str, Any]:
        """Train the baseline, or an arm from the window's start, and measure it."""
        file = self._curve(run)
        if file.is_file():
            saved: dict[str, Any] = load_json(file)
            return saved
        measured = Measured(self.sequences, self.study.measure_every, self._measured_on(corpus))
        ends_early = plan is None and self.study.window.after is not None
        asked = Run(
            seed_folder=self.folder,
            name=run,
            config=self.config,
            corpus=corpus,
            plan=plan,
            first=first,
            last=last,
            is_over=(lambda: self._is_past_window(measured.curves)) if ends_early else None,
        )
        self.trainer.train(asked, measured)
        save_json(file, measured.curves)
        self.trainer.tidy(asked)
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
            probes=parse_units(asks, shape, study.probe.asks),
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
        window = (found["window"][0], found["window"][1])
        spans = [window, *(arm.steps_within(window, self.config.steps) for arm in study.arms)]
        steps = min(first for first, _ in spans), max(last for _, last in spans)
        samples = tuple(step * self.config.batch_size for step in steps)
        model = str(self.trainer.checkpoint(self.folder / "baseline", found["attribution_step"]))
        asked = study.rank.changed(
            model=model,
            corpus=corpus,
            units=tuple(f"{found['unit']}:{probe}" for probe in study.probes) or (found["unit"],),
            samples=samples,
            probe=study.probe,
        )
        ranking = rank(asked, self.folder / "ranking", study.rank.device)
        words = study.probes or ("influence",)
        orders: dict[str, Source] = {
            word: (ranking, unit) for word, unit in zip(words, ranking.units, strict=True)
        }
        if study.statistics:
            asks_model: dict[str, Any] = (
                {"model": model, "device": study.rank.device} if "loss" in study.statistics else {}
            )
            told = StatisticsSettings(
                corpus=corpus,
                statistics=study.statistics,
                samples=samples,
                out=self.folder / "statistics",
                **asks_model,
            )
            known = statistics(told)
            orders |= {name: (known, f"statistic:{name}") for name in study.statistics}
        return orders
