"""Training against a task and an energy: objective, levers, budgets, steps and checkpoints."""

from jsnn.train import (
    budget,
    checkpoint,
    devices,
    diagnosis,
    evaluation,
    fitted,
    json_files,
    levers,
    losses,
    objective,
    optimiser,
    pace,
    program,
    progress,
    regularisers,
    run_folder,
    saving,
    state,
    step,
    threshold,
)
from jsnn.train._fit import (
    draw_order,
    fit,
    fit_program,
    score_of,
    training_figures,
    validation_figures,
)
from jsnn.train.budget import Budget
from jsnn.train.evaluation import evaluate, make_eval_step
from jsnn.train.fitted import Best, Callback, Diverged, Fitted
from jsnn.train.objective import Activity, DeadNeurons, Energy, Objective, Term, energy_terms
from jsnn.train.optimiser import label_params, make_optimiser
from jsnn.train.program import Program, Start, compile_program
from jsnn.train.progress import Progress
from jsnn.train.run_folder import RunFolder
from jsnn.train.saving import Saving
from jsnn.train.state import TrainState, as_trained, init_state, start_terms
from jsnn.train.step import make_epoch, make_train_step

__all__ = [
    "Activity",
    "Best",
    "Budget",
    "Callback",
    "DeadNeurons",
    "Diverged",
    "Energy",
    "Fitted",
    "Objective",
    "Program",
    "Progress",
    "RunFolder",
    "Saving",
    "Start",
    "Term",
    "TrainState",
    "as_trained",
    "budget",
    "checkpoint",
    "compile_program",
    "devices",
    "diagnosis",
    "draw_order",
    "energy_terms",
    "evaluate",
    "evaluation",
    "fit",
    "fit_program",
    "fitted",
    "init_state",
    "json_files",
    "label_params",
    "levers",
    "losses",
    "make_epoch",
    "make_eval_step",
    "make_optimiser",
    "make_train_step",
    "objective",
    "optimiser",
    "pace",
    "program",
    "progress",
    "regularisers",
    "run_folder",
    "saving",
    "score_of",
    "start_terms",
    "state",
    "step",
    "threshold",
    "training_figures",
    "validation_figures",
]
