"""Commands carried out: one after another or several at a time, on this machine, a Ray cluster or Slurm."""

from training.launch.job import Job, Launcher, Outcome
from training.launch.local import LocalLauncher
from training.launch.ray_cluster import RayLauncher
from training.launch.slurm import SlurmLauncher

__all__ = ["Job", "Launcher", "LocalLauncher", "Outcome", "RayLauncher", "SlurmLauncher"]
