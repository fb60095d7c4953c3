"""Scores on a device: the items of a bundle held there, the best candidates of many requests in one program of torch's;
without Lightning or Hydra."""

from distill.device.top_k import Best, DeviceTopK

__all__ = ["Best", "DeviceTopK"]
