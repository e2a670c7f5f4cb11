"""One training seed of the demo: corpus, baseline, scan, ranking, then every arm from the same checkpoint.

The room calls the same functions as the commands do, so what it leaves behind can be looked at with
``curator show``, scanned or ranked again.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from curator.artifacts.fields import Probe
from curator.artifacts.files import load_json, save_json
from curator.corpus import Corpus, build_embedded
from curator.demo.settings import ARMS, EVERY, MASKED, DemoSettings
from curator.plan.plan import Plan
from curator.ranking.ranking import Ranking
from curator.ranking.run import rank
from curator.ranking.selection import Select, Selection, select
from curator.ranking.settings import RankSettings
from curator.report.plots import plot_scan
from curator.scan.formation import crossing
from curator.scan.scan import Scan, scan_checkpoints
from curator.training import train
from curator.units import ProbeSettings, Sequences, draw_repeated
from curator.units.induction import InductionHead, copy_targets

PROBE = ProbeSettings(max_length=16)  # two copies fit rows of 32 tokens


class Replicate:
    """One seed's run in ``folder``; finished parts are not done again.

    Args:
        say: called with the name of each stage when it is finished.
    """

    def __init__(self, settings: DemoSettings, seed: int, folder: Path, say: Callable[[str], None]):
        self.settings = settings
        self.seed = seed
        self.folder = folder
        self.say = say
        self.config = settings.training(seed)
        self.sequences = draw_repeated(PROBE, self.config.vocab_size, self.config.seq_length)

    def run(self) -> dict[str, Any]:
        """Do everything; the result as JSON (also in ``result.json``)."""
        return self.once({"arms": list(ARMS)}, self._compare)

    def once(self, study: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``work`` gives, with ``identity``, kept in ``result.json``; another study's folder is emptied first."""
        finished = self.folder / "result.json"
        identity = {"settings": asdict(self.settings), "seed": self.seed, **study}
        if finished.is_file():
            saved: dict[str, Any] = load_json(finished)
            if saved["identity"] == identity:
                return saved
            shutil.rmtree(self.folder)
        result = {"identity": identity, **work()}
        save_json(finished, result)
        return result

    def _compare(self) -> dict[str, Any]:
        """The demo's arms."""
        corpus, ranking, result = self.prepare()
        if ranking is not None:
            result["top_drill_share"] = self._drill_share(corpus, ranking)
            for arm, plan in self._plans(corpus, ranking).items():
                result["curves"][arm] = self.train_arm(corpus, arm, plan)
        return result

    def prepare(self) -> tuple[Corpus, Ranking | None, dict[str, Any]]:
        """Corpus, baseline, scan and ranking: what every study of the seed begins with.

        Returns:
            The ranking is None where no head formed. The result holds unit, layer, head, window and the baseline's
            curve, as JSON.
        """
        corpus = build_embedded(self.folder / "corpus", self.settings.corpus(self.seed))
        self.say("corpus")
        baseline = self._train(corpus, "baseline", None)
        self.say("baseline")
        scan = scan_checkpoints(
            self.folder / "baseline",
            self.folder / "scan",
            kinds=["induction"],
            settings=PROBE,
            corpus=self.folder / "corpus",
        )
        plot_scan(scan, self.folder / "scan" / "scan.png")
        unit = scan.best("induction")[0]
        layer, head = map(int, unit.partition(":")[2].split("."))
        formation = self._formation(scan, unit)
        self.say("scan")
        result: dict[str, Any] = {"unit": unit, "layer": layer, "head": head, **formation}
        result["curves"] = {"baseline": baseline}
        ranking = None
        if formation["attribution_step"] is not None:
            ranking = self._rank(unit, formation)
            self.say("ranking")
        return corpus, ranking, result

    def train_arm(self, corpus: Corpus, arm: str, plan: Plan) -> dict[str, Any]:
        """Train one arm from the window's start, following ``plan``, and keep plan and curve.

        Extra steps make the arm so much longer, on the baseline's learning rates.
        """
        plan.save(self.folder / "plans" / arm)
        curve = self._train(corpus, arm, plan)
        self.say(arm)
        return curve

    def _formation(self, scan: Scan, unit: str) -> dict[str, Any]:
        """Where to attribute (first checkpoint past 0.2) and where the window ends (just past 0.6)."""
        curve = scan.curve(unit)
        inside = scan.steps >= self.settings.window_start
        past = scan.steps[inside & (curve >= 0.2)]
        end = crossing(scan.steps, curve, self.settings.window_end_score)
        stop = self.settings.steps if end is None else min(int(end) + EVERY, self.settings.steps)
        return {
            "final_score": float(curve[-1]),
            "attribution_step": int(past[0]) if len(past) else None,
            "window": [self.settings.window_start, stop],
        }

    def _train(self, corpus: Corpus, arm: str, plan: Plan | None) -> dict[str, Any]:
        """Train one arm, measuring every head's score and the copy log-probability on the way."""
        settings = self.settings
        steps: list[int] = []
        scores: list[list[list[float]]] = []
        copies: list[float] = []

        def measure(step: int, model: PreTrainedModel) -> None:
            if step % EVERY == 0:
                steps.append(step)
                scores.append(InductionHead.all_heads(model, self.sequences).tolist())
                copies.append(copy_log_probability(model, self.sequences))

        out = self.folder / arm
        curves = self.folder / "curves" / f"{arm}.json"
        if curves.is_file():
            saved: dict[str, Any] = load_json(curves)
            return saved
        shutil.rmtree(out, ignore_errors=True)  # half a curve cannot be gone on with
        if plan is None:
            every = settings.checkpoint_every
            train(
                self.config,
                corpus,
                out,
                checkpoint_steps=range(0, settings.steps + 1, every),
                on_step=measure,
            )
        else:
            extra = plan.n_slots // plan.batch_size - self.config.steps
            train(
                self.config.changed(steps=self.config.steps + extra, decay_steps=self.config.steps),
                corpus,
                out,
                plan=plan,
                start_from=self.folder / "baseline" / f"step{settings.window_start}",
                checkpoint_steps=[],
                stop_step=settings.arm_steps + extra,
                on_step=measure,
            )
        result = {"steps": steps, "scores": scores, "copy_log_probability": copies}
        save_json(curves, result)
        return result

    def _rank(self, unit: str, formation: dict[str, Any]) -> Ranking:
        first, last = (step * self.config.batch_size for step in formation["window"])
        request = RankSettings(
            model=str(self.folder / "baseline" / f"step{formation['attribution_step']}"),
            corpus=self.folder / "corpus",
            units=(unit,),
            samples=(first, last),
            probe=Probe(max_length=PROBE.max_length),
            factor_samples=self.settings.factor_samples,
        )
        return rank(request, self.folder / "ranking")

    def _plans(self, corpus: Corpus, ranking: Ranking) -> dict[str, Plan]:
        """One plan per arm. Repeated samples stand in place of random others, never of the top."""
        top = self._select(ranking, "top")
        top.save(self.folder / "top")
        n_slots = self.config.steps * self.config.batch_size
        identity = Plan.identity(n_slots, self.config.batch_size, corpus.fingerprint())
        plans = {}
        for number, (arm, what) in enumerate(ARMS.items()):
            draw = 100 * self.seed + number
            samples = self._select(ranking, what, draw, corpus.categories()).samples
            if arm in MASKED:
                plans[arm] = identity.mask(samples)
            else:
                random = np.random.default_rng(draw)
                slots = random.choice(np.setdiff1d(ranking.samples, top.samples), len(samples), replace=False)
                plans[arm] = identity.replace(slots, random.permutation(samples))
        return plans

    def _select(
        self, ranking: Ranking, what: Select, seed: int = 0, categories: np.ndarray | None = None
    ) -> Selection:
        return select(
            ranking,
            what,
            percent=100 * self.settings.share,
            seed=seed,
            categories=categories,
            exclude_top=False,  # plain random rows, as the paper's control
        )

    def _drill_share(self, corpus: Corpus, ranking: Ranking) -> list[float]:
        """Share of drill rows among the top samples, and in the whole window."""
        categories = corpus.categories()
        if categories is None:
            return [0.0, 0.0]
        top = self._select(ranking, "top").samples
        return [float((categories[chosen] == "drill").mean()) for chosen in (top, ranking.samples)]


def copy_log_probability(model: PreTrainedModel, sequences: Sequences) -> float:
    """Mean log-probability, in nats per token, of the token to be copied: the induction probe per position."""
    scored, _ = copy_targets(sequences.tokens, sequences.valid())
    with torch.no_grad():
        value = InductionHead(0, 0).probe(model, sequences)
    return float(value) * len(sequences.tokens) / int(scored.sum())
