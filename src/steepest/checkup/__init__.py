"""The checks of `steepest doctor`: each looks at one thing of this machine."""
