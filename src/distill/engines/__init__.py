"""Where the work on parts of data is done: in this process, or by the workers of an engine that people run already."""

from distill.engines.base import Advance, Engine, LocalEngine, Merge, Task
from distill.engines.on_ray import RayEngine
from distill.engines.ray_cluster import RayOptions

__all__ = ["Advance", "Engine", "LocalEngine", "Merge", "RayEngine", "RayOptions", "Task"]
