#!/bin/bash
# Train on several nodes: sbatch slurm.sh. One process a node, all its GPUs; the run folder is on a disk that all see.
# Submitted again after it was stopped, it goes on where it was.
#SBATCH --job-name=jaxgen
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --output=%x-%j.txt

source "$HOME/jaxgen/bin/activate"

# --coordinator auto: SLURM's own variables say where the first process listens and which one each is.
exec srun jaxgen run brain_ldm --preset full --data "$SCRATCH/brains" --workdir "$SCRATCH/runs/brains" \
  --coordinator auto --shard-state 8 --no-images
