"""Pictures of what a run found: matplotlib figures, frames and texts, and the files they become.

Every module imports matplotlib and pillow where it draws and not above, so that what may draw starts as fast as before.
Figures are made without pyplot, which keeps a list of them that grows.
"""

from steepest.pictures.confusion import confusion_matrix
from steepest.pictures.contour import contour_path
from steepest.pictures.files import Picture, save
from steepest.pictures.grid import image_grid
from steepest.pictures.layers import layer_map
from steepest.pictures.training import training_curves

__all__ = ["Picture", "confusion_matrix", "contour_path", "image_grid", "layer_map", "save", "training_curves"]
