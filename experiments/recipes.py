"""What each data set is trained with unless a flag says otherwise; chosen on validation."""

RECIPES: dict[str, dict] = {
    "digits": {},
    "qtdb": {
        "model": "srnn",
        "neuron": "brf",
        "widths": (36,),
        "encoder": "recorded",
        "task": "every-step",
        "readout": "per-step",
        "readout_tau_steps": 20.0,
        "readout_gain": 1.0,
        "dropout": 0.0,
        "warmup_epochs": 0.0,
        "clip": 10.0,
        "epochs": 10,
        "batch": 16,
        "learning_rate": 0.25,
        "schedule": "linear",
        "time_constant_scale": 1.0,
        "weight_decay": 0.0,
        "use_bias": False,
    },
}
