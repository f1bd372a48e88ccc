"""Rendered traffic with exact masks."""
from .render import render_scene, render_scenes
from .vehicles import SceneConfig

__all__ = [
    "SceneConfig", "render_scene", "render_scenes",
]
