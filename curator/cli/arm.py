"""What `curator arm` says of the arm that it writes."""

from curator.cli.printing import say
from curator.neox.arm import write_arm
from curator.neox.prepare import prepare_arm
from curator.neox.settings import ArmSettings


def run_arm(asked: ArmSettings) -> None:
    """`curator arm`."""
    arm, notes = prepare_arm(asked)
    write_arm(arm)
    for sentence in notes:
        say(f"note: {sentence}")
    checkpoint, plan = arm.checkpoint, arm.now.plan_fingerprint
    begins = "anew, from step 0" if checkpoint is None else f"from step {arm.step}, a copy of {checkpoint}"
    say(
        f"The arm starts {begins}, {'with no plan' if plan is None else f'with the plan {plan}'}, and "
        f"trains to step {arm.settings['train_iters']}.\nWritten to {arm.out}/, its save and load folder: patch.yml, "
        f"train.yml (changed: {', '.join(arm.changed)}), arm.json"
        f"{'' if checkpoint is None else f', {checkpoint.name}, latest'}.\n"
        "The command below starts it, and goes on with it after whatever stops it, with HEAD, v1.0 or 2.x.\n"
        f"Next: {arm.command}"
    )
