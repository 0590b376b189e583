"""What happens around training: records, checkpoints, the progress bar."""
