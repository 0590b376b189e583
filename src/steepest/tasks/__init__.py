"""Tasks: each a LightningModule in a file of its own."""
