"""What is trained beside the weights, and under what limits: budgets, fronts and levers."""
