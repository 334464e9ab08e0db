"""Every option of a training run, with its default."""

from __future__ import annotations

import dataclasses
from typing import Any

from experiments import windows
from experiments.build import BUDGETS, dataset, limits
from experiments.config import check, option
from experiments.recipes import RECIPES
from experiments.unread import refuse_unread
from jsnn.data.registry import ENTRIES
from jsnn.train.objective import EVENT_TEMPERATURE

# With a dead-neuron weight of 1 a network of digits stayed 5 % above its 41 nJ and lost 2
# percentage points. By the last epoch the limit has reached its end and the network has settled at
# it.
UNDER_A_BUDGET = {"energy_weight": 0.0, "dead_neuron_weight": 0.1, "select": "last"}


@dataclasses.dataclass(frozen=True)
class Config:
    """Every option of a run. The defaults are those of digits; recipes change them by data set."""

    # what is learned
    dataset: str = option(
        "digits", "name of the data set, an .npz file, or package.module:function"
    )
    data_dir: str | None = option(None, "folder that holds the data; none: JSNN_DATA")
    data_options: str = option("", "options of the data set, as steps=25,binary=False")
    fold: int | None = option(None, "test on this fold of the training samples instead", least=0)
    folds: int = option(5, "how many folds there are", least=2)
    split_seed: int = option(0, "seed of splits that are not published", least=0)
    refit: bool = option(
        False, "train on the validation samples too, when all else is chosen; needs --select last"
    )
    limit: int | None = option(None, "use at most this many samples of each split", least=1)
    task: str = option("cross-entropy", "loss: cross-entropy, every-step or tet")
    # the network
    model: str = option("mlp", "mlp, conv, srnn, spikformer, or package.module:Class")
    widths: tuple[int, ...] = option((256, 256), "neurons (channels) of each hidden layer")
    hidden: int = option(0, "conv: width of a dense layer before the readout", least=0)
    neuron: str = option("lif", "neuron model of the hidden layers")
    tau_steps: float = option(10.0, "membrane time constant, in steps", above=0)
    reset: str = option("subtract", "reset: subtract, zero or none")
    detach_reset: bool = option(False, "no gradient through the reset")
    surrogate: str | None = option(None, "surrogate gradient; none: the neuron's own")
    readout: str = option("mean-membrane", "how the output membranes become logits")
    readout_tau_steps: float = option(2.0, "time constant of the readout, in steps", above=0)
    readout_gain: float = option(5.0, "factor on the membranes of the readout")
    gain: float = option(2.0, "mlp: variance of the first weights x fan-in", above=0)
    norm: bool = option(False, "mlp: batch norm over time and batch")
    use_bias: bool = option(True, "srnn: biases")
    recurrent_init: str = option("orthogonal", "srnn: recurrent weights, orthogonal or xavier")
    dropout: float = option(0.0, "share of hidden spikes dropped in training", least=0, below=1)
    input_dropout: float = option(0.0, "mlp: share of inputs dropped in training", least=0, below=1)
    encoder: str = option("direct", "how samples become frames")
    steps: int = option(6, "time steps T of still samples", least=1)
    delta_threshold: float = option(0.1, "delta: distance of two levels of the signal", above=0)
    window: str | None = option(
        None, "steps that are run: none (all), a number, learned, or LOW:HIGH to learn within"
    )
    early_exit: str | None = option(
        None, "stop each sample of the test once sure by this rule: softmax, entropy, margin or gap"
    )
    exit_loss: float = option(0.0, "validation accuracy that early exit may lose", least=0, below=1)
    shift: int = option(0, "images: move training samples by up to so many pixels", least=0)
    # what it is trained against
    hardware: str = option("neuromorphic-22nm", "machine that the energy is priced on")
    input_bits: int | None = option(
        None, "width of a real-valued input word; none: the data's own", least=1
    )
    energy_weight: float = option(0.25, "weight of energy / energy at initialisation", least=0)
    energy_ramp: float = option(
        0.5, "share of training in which that weight rises", least=0, below=1
    )
    dead_neuron_weight: float = option(1.0, "weight of the term that keeps layers alive", least=0)
    event_temperature: float = option(
        EVENT_TEMPERATURE,
        "how much spikes of a layer in its dense dataflow feel of the sparse one's price",
        least=0,
    )
    energy_budget: str | None = option(None, "most an inference may burn on average, as 40nJ")
    latency_budget: str | None = option(None, "most it may take on average, as 1ms")
    memory_budget: str | None = option(None, "most that weights and states may occupy, as 64KiB")
    area_budget: str | None = option(None, "most that the machine's memories may take, as 2mm2")
    prune: str = option("none", "what the energy may take away: none, units or weights")
    prune_rate: float | None = option(
        None, "learning rate of gates or thresholds / of weights; none: 10 or 3", least=0
    )
    # what is trained beside the weights
    weight_bits: str | None = option(
        None, "bits of weights and decays: a number, learned by layer, or none (float)"
    )
    state_bits: str | None = option(
        None, "bits of membranes and biases (lif, if): a number, learned by layer, or none (float)"
    )
    bits_scale: float = option(
        5.0, "learning rate of bits and of ranges (log2) / that of weights", least=0
    )
    design_parameters: str = option(
        "none",
        "design parameters of the machine: none, all that are pushed both ways, or name=low:high,…",
    )
    supply_v: float | None = option(
        None,
        "supply that the machine's constants are for, V; the design parameter voltage_v needs it",
        above=0,
    )
    design_rate: float = option(
        5.0, "learning rate of the design parameters / that of weights", least=0
    )
    # how it is trained
    warm_start: str | None = option(None, "folder of a run whose network to start from")
    seed: int = option(0, "seed of weights, batches and encoders", least=0)
    epochs: int = option(100, "passes over the training samples", least=1)
    batch: int = option(32, "samples of a step", least=1)
    learning_rate: float = option(2e-3, "peak learning rate of the weights", above=0)
    warmup_epochs: float = option(1.0, "epochs of linear warm-up", least=0)
    schedule: str = option("cosine", "cosine, linear or constant")
    weight_decay: float = option(1e-2, "of AdamW, on weights", least=0)
    clip: float = option(1.0, "global norm that gradients are clipped to", above=0)
    time_constant_scale: float = option(
        0.0,
        "learning rate of time constants, relative to their start / of weights; 0: none",
        least=0,
    )
    frequency_scale: float = option(
        0.0, "learning rate of frequencies of brf and rf, relative / of weights; 0: none", least=0
    )
    threshold_scale: float = option(
        0.0, "learning rate of thresholds, relative / that of weights; 0: none", least=0
    )
    window_scale: float = option(
        5.0, "learning rate of a learned window / that of weights", least=0
    )
    select: str = option("best", "epoch that is tested: best on validation, or last")
    checkpoint_seconds: float = option(
        20.0,
        "a checkpoint once so long has passed since the last, sooner where it is cheap",
        least=0,
    )
    # how it is computed: time and memory, not results
    plan: str = option("auto", "the time window: auto, whole, or chunked:STEPS for long ones")
    input: str = option(
        "dense", "recorded events: dense, events (lists), or auto; changes rounding"
    )
    loop: str = option("auto", "calls: auto, epoch (one each), step, or host (the set stays there)")
    precision: str = option("f32", "operands of matrix products, f32 or bf16; this one does change")

    def __post_init__(self):
        check(self)
        windows.check(self)
        if self.refit and self.early_exit is not None:
            raise ValueError("--refit leaves no samples to choose the threshold of --early-exit by")
        if self.select not in ("best", "last"):
            raise ValueError(f"--select must be best or last, got {self.select!r}")
        if self.refit and self.select != "last":
            raise ValueError(
                "--refit leaves no samples to choose an epoch by: it needs --select last"
            )
        if limits(self) and self.energy_weight:
            raise ValueError(
                "a budget takes the place of --energy-weight: leave one of them away, got "
                f"--energy-weight {self.energy_weight}"
            )
        if not self.warmup_epochs < self.epochs:
            raise ValueError(
                f"--warmup-epochs must be less than --epochs, got {self.warmup_epochs} of "
                f"{self.epochs}"
            )


def recipe_of(flags: dict[str, Any]) -> dict[str, Any]:
    """Defaults of the data set: its recipe; of a set of the user's, what its samples need."""
    name = flags.get("dataset", Config.dataset)
    if name in RECIPES or name in ENTRIES:
        return RECIPES.get(name, {})
    given = {
        key: flags[key]
        for key in ("model", "data_dir", "data_options", "split_seed")
        if key in flags
    }
    return {"encoder": "recorded"} if dataset(Config(dataset=name, **given)).timed else {}


def configured(flags: dict[str, Any], smoke: bool = False) -> Config:
    """The config of flags: recipe of the data set, `--smoke`, a budget, then the flags.

    Raises:
        ValueError: flags that do not fit, or that this run would not use.
    """
    recipe = recipe_of(flags)
    short = {"epochs": 2, "limit": 256} if smoke else {}
    # A budget replaces the recipe's energy weight, not one that was asked for.
    limited = any(flags.get(name) for name in BUDGETS)
    config = Config(**recipe | short | (UNDER_A_BUDGET if limited else {}) | flags)
    refuse_unread(flags, config)
    return config
