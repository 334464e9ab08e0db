"""Training against a task and an energy: objective, levers, budgets, steps and checkpoints."""

from jsnn.train import (
    budget,
    checkpoint,
    devices,
    diagnosis,
    evaluation,
    levers,
    losses,
    objective,
    optimiser,
    regularisers,
    state,
    step,
    threshold,
)
from jsnn.train.budget import Budget
from jsnn.train.evaluation import evaluate, make_eval_step
from jsnn.train.objective import Activity, DeadNeurons, Energy, Objective, Term, energy_terms
from jsnn.train.optimiser import label_params, make_optimiser
from jsnn.train.state import TrainState, as_trained, init_state, start_terms
from jsnn.train.step import make_epoch, make_train_step

__all__ = [
    "Activity",
    "Budget",
    "DeadNeurons",
    "Energy",
    "Objective",
    "Term",
    "TrainState",
    "as_trained",
    "budget",
    "checkpoint",
    "devices",
    "diagnosis",
    "energy_terms",
    "evaluate",
    "evaluation",
    "init_state",
    "label_params",
    "levers",
    "losses",
    "make_epoch",
    "make_eval_step",
    "make_optimiser",
    "make_train_step",
    "objective",
    "optimiser",
    "regularisers",
    "start_terms",
    "state",
    "step",
    "threshold",
]
