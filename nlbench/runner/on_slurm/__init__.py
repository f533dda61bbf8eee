"""Cells as jobs of Slurm, through submitit; nothing here is imported unless it is asked for."""
