"""What `curator statistics` prints: per statistic, what it says, and its lowest, mean and highest score."""

from curator.cli import next_steps
from curator.cli.next_steps import next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.statistics.settings import StatisticsSettings


def run_statistics(settings: StatisticsSettings) -> None:
    """`curator statistics`."""
    from curator.statistics.stage import statistics

    ranking = statistics(settings)
    rows = []
    for unit in ranking.units:
        scores = ranking.unit_scores(unit)
        numbers = [f"{value:.4g}" for value in (scores.min(), scores.mean(), scores.max())]
        best = str(ranking.samples_at(scores.argmax()))
        rows.append([unit, *numbers, best, ranking.statistics[unit]["higher"]])
    title = f"{len(ranking)} samples, {ranking.first_sample} to {ranking.end - 1}"
    print_rows(title, ["statistic", "lowest", "mean", "highest", "highest sample", "higher means"], rows)
    if not ranking.has_losses:
        say("Without losses: for loss-matched controls, tell them with --model.")
    say(f"Written to {ranking.path}/.")
    next_step(*next_steps.show(ranking))
