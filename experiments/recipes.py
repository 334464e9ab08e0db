"""What each data set is trained with unless a flag says otherwise; chosen on validation."""

RECIPES: dict[str, dict] = {
    "digits": {"input_bits": 5},
    "qtdb": {
        "model": "srnn",
        "neuron": "brf",
        "widths": (36,),
        "encoder": "recorded",
        "task": "every-step",
        "readout": "per-step",
        "readout_tau_steps": 20.0,
        "epochs": 10,
        "batch": 16,
        "learning_rate": 0.1,
        "schedule": "linear",
        "time_constant_scale": 1.0,
        "weight_decay": 0.0,
        "use_bias": False,
    },
}
