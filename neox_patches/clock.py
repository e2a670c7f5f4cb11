"""Where training stands on this rank, and which slots a micro-batch holds.

GPT-NeoX's batch sampler hands out indices contiguously. Micro-batch m of step s holds, on data-parallel rank r of D,

    slot = ((s * gas + m) * D + r) * micro_batch_size + row,

whatever the number of DataLoader workers, and after a resume. Tensor-parallel peers and pipeline stages share r, so
that every rank knows its slots without being told.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Layout:
    """How a global batch is spread over ranks and micro-batches.

    Attributes:
        micro_batch_size: rows per micro-batch and rank; accumulation: micro-batches per step (gas).
        dp_size, dp_rank, mp_size, mp_rank, pp_size, pp_rank: data, tensor and pipeline parallel.
    """

    micro_batch_size: int
    accumulation: int
    dp_size: int
    dp_rank: int
    mp_size: int
    mp_rank: int
    pp_size: int
    pp_rank: int

    @staticmethod
    def of(neox_args: Any, mpu: Any) -> "Layout":
        """As GPT-NeoX has set it up (after ``initialize_megatron``)."""
        return Layout(
            micro_batch_size=int(neox_args.batch_size),
            accumulation=int(neox_args.gradient_accumulation_steps),
            dp_size=mpu.get_data_parallel_world_size(),
            dp_rank=mpu.get_data_parallel_rank(),
            mp_size=mpu.get_model_parallel_world_size(),
            mp_rank=mpu.get_model_parallel_rank(),
            pp_size=max(1, int(neox_args.pipe_parallel_size)),
            pp_rank=mpu.get_pipe_parallel_rank() if neox_args.pipe_parallel_size > 1 else 0,
        )

    @property
    def batch_size(self) -> int:
        """Global batch size B."""
        return self.micro_batch_size * self.accumulation * self.dp_size

    @property
    def rows_per_step(self) -> int:
        """Rows of a step on one rank."""
        return self.micro_batch_size * self.accumulation

    def slots(self, step: int, micro: int) -> np.ndarray:
        """[micro_batch_size] int64."""
        batch = (step * self.accumulation + micro) * self.dp_size + self.dp_rank
        first = batch * self.micro_batch_size
        return np.arange(first, first + self.micro_batch_size)


@dataclass
class Clock:
    """The step and micro-batch that this rank is at.

    Attributes:
        step: counted from 0 over the whole training, right after a resume too.
        training: whether a training step runs; evaluation is none of our business.
        loaded: micro-batches loaded in this step.
        current: the micro-batch that the forward or backward pass under way belongs to.
    """

    layout: Layout
    step: int = -1
    training: bool = False
    loaded: int = 0
    current: int = -1
    _forwards: int = 0
    _in_buffer: dict[int, int] = field(default_factory=dict)

    def begin(self, step: int) -> None:
        """A training step begins."""
        self.step, self.training = step, True
        self.loaded, self.current, self._forwards = 0, -1, 0
        self._in_buffer.clear()

    def load(self) -> np.ndarray:
        """A micro-batch was loaded; its slots."""
        slots = self.layout.slots(self.step, self.loaded)
        self.current = self.loaded
        self.loaded += 1
        return slots

    def forward(self, buffer: int) -> None:
        """The pipeline engine runs its next forward pass, in this buffer."""
        self.current = self._forwards
        self._in_buffer[buffer] = self._forwards
        self._forwards += 1

    def backward(self, buffer: int) -> None:
        """The pipeline engine runs the backward pass (and recomputation) of what this buffer holds."""
        self.current = self._in_buffer[buffer]

    def end(self) -> None:
        """The training step is over."""
        self.training = False

    @property
    def slots(self) -> np.ndarray:
        """[micro_batch_size] slots of the current micro-batch."""
        return self.layout.slots(self.step, self.current)


def follow_pipeline(engine: Any, clock: Clock) -> None:
    """Let the clock follow DeepSpeed's pipeline engine, whose stages have several micro-batches in flight.

    The engine looks instructions up in a table by their class; this engine gets a table of its own.
    """
    from deepspeed.runtime.pipe import schedule

    table = engine._INSTRUCTION_MAP
    forward, backward = table[schedule.ForwardPass], table[schedule.BackwardPass]

    def forward_pass(self: Any, buffer_id: int) -> Any:
        if clock.training:
            clock.forward(buffer_id)
        return forward(self, buffer_id)

    def backward_pass(self: Any, buffer_id: int) -> Any:
        if clock.training:
            clock.backward(buffer_id)
        return backward(self, buffer_id)

    engine._INSTRUCTION_MAP = {
        **table,
        schedule.ForwardPass: forward_pass,
        schedule.BackwardPass: backward_pass,
    }
