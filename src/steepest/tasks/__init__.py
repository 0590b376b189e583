"""Tasks: each a LightningModule in a file of its own, without a base class.

The callbacks and the summary rely on these attributes of every task: `model`; `headline`, the name of its one metric
and "max" or "min"; `total_steps`; `counters`, what was spent; `train_loss`, the running mean of the loss; and
`loss(batch)`, the training loss with its graph, for optimizers that evaluate it themselves (`closures`);
`batch`, that of the last `training_step` for such an optimizer;
`loss_and_divergence(batch)`, for natural gradient, where the model gives probabilities.
"""
