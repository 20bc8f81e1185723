"""Launchers: commands executed on this machine, on a Ray cluster or on Slurm."""

from training.launch.jobs import Job, Launcher, LocalLauncher, Outcome
from training.launch.ray_cluster import RayLauncher
from training.launch.slurm import SlurmLauncher

__all__ = ["Job", "Launcher", "LocalLauncher", "Outcome", "RayLauncher", "SlurmLauncher"]
