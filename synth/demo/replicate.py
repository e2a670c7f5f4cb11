"""One training seed: curator's demo up to the ranking, then distill, audit, generate, render, audit, insert, retrain.

Every stage is the function behind the command of that name and leaves the command's folder, so that all of it can be
looked at, or gone on with, by hand.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from curator.corpus import Corpus, open_corpus
from curator.demo.replicate import Replicate
from curator.demo.settings import DemoSettings
from curator.plan.plan import Plan
from curator.planning.inject import extra_steps
from curator.ranking.ranking import Ranking
from synth.demo.pipeline import run_builtin
from synth.demo.settings import InsertSettings


def run_seed(
    inserts: InsertSettings, settings: DemoSettings, seed: int, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """The result of one seed as JSON, also in ``folder/result.json``; finished parts are not done again."""
    replicate = Replicate(settings, seed, folder, say)

    def work() -> dict[str, Any]:
        corpus, ranking, result = replicate.prepare()
        if ranking is None:
            return result
        rows, result["pipeline"] = run_builtin(
            ranking.path,
            folder,
            top=inserts.top,
            holdout=inserts.holdout,
            count=max(inserts.counts),
            seed=seed,
            say=say,
        )
        for arm, kind, count, schedule in inserts.arms():
            plan = insertion(replicate, corpus, ranking, open_corpus(rows), kind, count, schedule, inserts)
            result["curves"][arm] = replicate.train_arm(corpus, arm, plan)
        return result

    return replicate.once({"inserts": inserts.to_json()}, work)


def insertion(
    replicate: Replicate,
    corpus: Corpus,
    ranking: Ranking,
    rendered: Corpus,
    kind: str,
    count: int,
    schedule: str,
    inserts: InsertSettings,
) -> Plan:
    """The plan of one arm: ``count`` rows of ``kind`` as extra steps, in random order."""
    config, start = replicate.config, replicate.settings.window_start
    plan, source = Plan.identity(config.steps * config.batch_size, config.batch_size, corpus.fingerprint()), 0
    random = np.random.default_rng([replicate.seed, count])
    if kind == "synthetic":
        plan, source = plan.with_source("rendered", rendered.path, rendered.fingerprint())
        samples = np.arange(count)
    elif kind == "top":
        samples = ranking.top(count)
    else:
        samples = random.choice(ranking.samples, count, replace=False)
    steps = extra_steps(
        config.steps,
        config.batch_size,
        count,
        start if schedule == "burst" else None,
        None if schedule == "burst" else (start, start + inserts.spread_steps),
    )
    return plan.insert(steps, random.permutation(samples), source)
