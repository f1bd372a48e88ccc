"""Rendered traffic with exact masks."""
from .config import SceneConfig
from .render import default_scenes, render_scene, render_scenes
from .variety import varied_scenes

__all__ = [
    "SceneConfig", "default_scenes", "render_scene", "render_scenes",
    "varied_scenes",
]
