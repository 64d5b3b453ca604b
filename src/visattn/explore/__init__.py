"""Figures and explorers: what the chapters show.

Matplotlib and ipywidgets are imported when a figure or a control is made, so
importing this package costs nothing beyond torch.
"""

from visattn.explore._glue import glue
from visattn.explore._page import Explorer
from visattn.explore.axial_explorer import axial_explorer
from visattn.explore.explorer import attention_explorer
from visattn.explore.gate_explorer import gate_explorer
from visattn.explore.halo_explorer import halo_explorer
from visattn.explore.live import LiveView, live
from visattn.explore.maps import attention_grid, heatmap, overlay, photo
from visattn.explore.memory_calculator import memory_calculator
from visattn.explore.picture import Picture, show
from visattn.explore.relation_explorer import relation_explorer
from visattn.explore.style import (
    ATTENTION,
    DIVERGING,
    INK,
    PALETTE,
    SEQUENTIAL,
    Palette,
    subplots,
)
from visattn.explore.theorem_explorer import theorem_explorer

__all__ = [
    "ATTENTION",
    "DIVERGING",
    "INK",
    "PALETTE",
    "SEQUENTIAL",
    "Explorer",
    "LiveView",
    "Palette",
    "Picture",
    "attention_explorer",
    "attention_grid",
    "axial_explorer",
    "gate_explorer",
    "glue",
    "halo_explorer",
    "heatmap",
    "live",
    "memory_calculator",
    "overlay",
    "photo",
    "relation_explorer",
    "show",
    "subplots",
    "theorem_explorer",
]
