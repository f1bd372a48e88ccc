"""Pictures, counterfactuals and the explorer."""
from .pictures import overlay, write_video
from .maps import Gate, Maps, changes
from .timeline import Timeline
from .looks import Look
from .figures import figure_strip
from .views import View
from .explorer import Explorer
from .external import export_fiftyone, export_rerun

__all__ = [
    "Explorer", "Gate", "Look", "Maps", "Timeline", "View", "changes",
    "export_fiftyone", "export_rerun", "figure_strip", "overlay", "write_video",
]
