"""What a plan says of memory and time, whichever backend found it out."""

import math
from dataclasses import dataclass

from finetune.records import machine


@dataclass(frozen=True)
class MemoryEstimate:
    """What training takes: memory in 10^6 bytes, and seconds of a typical optimizer step."""

    parameters: int
    trainable: int
    layers: int
    thinnest: int | None  # the smaller side of the smallest matrix with an adapter
    measured_layers: tuple[int, ...]  # numbers of layers of the models that the steps were measured on
    weights_mb: float
    adapters_mb: float
    optimizer_mb: float
    layers_mb: float  # activations and gradients of the layers; 0 if the step was measured as a whole
    head_and_loss_mb: float  # the rest of a step: output head, loss, temporary arrays
    seconds: float
    modules: int = 0  # with an adapter
    experts: int = 0  # of these, with an adapter for each of their experts
    notes: tuple[str, ...] = ()  # what is not adapted although it was meant, a clause each
    embeddings_mb: float = 0.0  # the trained embeddings; their gradient, which is as large, is in ``head_and_loss_mb``

    @property
    def static_mb(self) -> float:
        """Memory held between two steps: weights, adapters, optimizer state."""
        return self.weights_mb + self.adapters_mb + self.optimizer_mb

    @property
    def peak_mb(self) -> float:
        """The most memory that a step holds at once."""
        return self.static_mb + self.layers_mb + self.head_and_loss_mb


@dataclass(frozen=True)
class DeviceMemory:
    """What a device lets this process have, in bytes; infinite if the system does not say."""

    total: float
    free: float
    owner: str = ""  # whose it is, if not the whole machine's: "Metal may use"
    most_kept: float = 0.0  # beside what is held, at most, for reuse
    given_back_above: float = math.inf  # what is held and kept together: above, what is kept is freed

    def kept(self, memory: MemoryEstimate) -> float:
        """Bytes that stay with the process for reuse when a step has freed them."""
        room = max(0.0, self.given_back_above - memory.peak_mb * 1e6)
        return min(self.most_kept, room, (memory.layers_mb + memory.head_and_loss_mb) * 1e6)


def of_machine() -> DeviceMemory:
    """The memory of the machine, or of this process's control group."""
    try:
        total, available = machine.memory_bytes()
    except OSError:
        return DeviceMemory(math.inf, math.inf)
    return DeviceMemory(float(total), float(available))
