"""What a plan says of memory and time, whichever backend found it out."""

from dataclasses import dataclass


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
