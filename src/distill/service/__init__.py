"""The reference service: a bundle behind HTTP, without torch, Lightning or Hydra."""
