"""Settings of the loop itself and of the average of weights, shared by both stages."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from rsd_med.base.settings import Settings


class EngineSettings(Settings):
    """How a run is carried out; nothing here changes what is learned."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU where there is one")
    log_every: PositiveInt = Field(5_000, description="images between lines of metrics.jsonl")
    checkpoint_every: PositiveInt = Field(50_000, description="images between checkpoints")
    keep_checkpoints: PositiveInt = Field(2, description="checkpoints kept per stage; a stage's last one always is")
    workers: Literal["auto"] | NonNegativeInt = Field(
        "auto",
        description="processes that read and prepare data ahead, of each rank; same result; auto: the cores to spare, "
        "where a GPU would wait for files that do not fit in memory",
    )
    micro_batch: PositiveInt | None = Field(
        None, description="images that a network sees at once, at most; more memory, same result; null: all of them"
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="of the networks; auto: what a trial before the first step finds to be faster"
    )
    compile: Literal["auto", "reduce-overhead"] | bool = Field(
        "auto",
        description="torch.compile; auto: tried on a GPU, where a run of hours repays the minutes it takes; "
        "reduce-overhead: also launch each pass as one CUDA graph, for data of one shape and small batches",
    )
    cache_gib: NonNegativeFloat = Field(4.0, description="memory for prepared measurements, in GiB")
    prepared_gib: NonNegativeFloat = Field(
        100.0,
        description="disk for the prepared scans of files, in GiB, beside the cached coil maps: a second epoch, or "
        "run, reads them; 0: none",
    )
    mlflow: str | None = Field(
        None,
        min_length=1,
        description="tracking address of MLflow, which then gets every figure too: `sqlite:///FILE`, `http://…` "
        "(extra `mlflow`; passwords belong into MLflow's environment variables); null: none",
    )


class EMASettings(Settings):
    """Exponential moving average of the weights, in images (EDM, appendix F)."""

    half_life: PositiveInt = Field(500_000, description="images after which an old weight counts half")
    ramp_up: float = Field(0.05, gt=0, description="half-life at most this share of the images seen so far")
