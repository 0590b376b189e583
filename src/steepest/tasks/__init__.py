"""Tasks: each a LightningModule in a file of its own, without a base class.

What every task has, and assembling, callbacks and the summary rely on: `model`; `headline`, the name of its one metric
and "max" or "min"; `total_steps`; `counters`, what was spent; `train_loss`, the running mean of the loss; and
`rehearse(batch)`, which sends a batch without numbers through the model (`rehearsal`).

What a task may have:
`needs`, the attributes that its model and its data set must have;
`loss(batch)`, the training loss with its graph, for optimizers that evaluate it themselves (`closures`), and `batch`,
that of the last `training_step`;
`loss_and_divergence(batch)`, for natural gradient, where the model gives probabilities;
`train_means`, running means that go into the rows of training beside the loss;
`examples_per_step(node, plan, data)`, where a step stands for another number of examples than its batch has, and
`examples_before(node)`, where some are spent before the first step;
`one_device`, where several devices cannot share its work;
`predict_step`, for `steepest predict`; `pictures()`, figures, frames and texts for the run folder.
Its constructor takes `model`, `optimizer`, `schedule`, `total_steps` and `plan`, and may take `data` and `clip`.

Tasks with several losses set `automatic_optimization = False` and step by `manual`. `opt_step` grows by one in a
`training_step` at most, since rows, checkpoints, validation and the budget are looked after between two of them.
"""
