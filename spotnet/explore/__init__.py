"""Pictures, counterfactuals and the explorer."""
from .pictures import overlay, write_video
from .maps import Gate, Maps, Timeline
from .views import View, figure_strip
from .explorer import Explorer

__all__ = [
    "Explorer", "Gate", "Maps", "Timeline", "View", "figure_strip", "overlay", "write_video",
]
