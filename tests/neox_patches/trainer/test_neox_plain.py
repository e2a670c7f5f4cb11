"""The ground the other tests stand on: the plain trainer runs here, and two plain runs are equal to the bit."""

from pathlib import Path

from neox_runs import PP1_ZERO1, Trainer, assert_same_checkpoint


def test_two_plain_runs_are_bit_identical(trainer: Trainer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        config = trainer.config(**PP1_ZERO1, train_iters=3, save=str(tmp_path / name / "save"))
        run = trainer.run(tmp_path / name, config)
        assert run.rows().shape == (3, 4, 33)
    assert_same_checkpoint(tmp_path / "a" / "save", tmp_path / "b" / "save", 3)
