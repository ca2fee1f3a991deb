"""From a plan and files to ragged batches, read and decoded in parallel."""

from anysize.loading.collation import collate
from anysize.loading.epochs import EpochPlanner
from anysize.loading.loader import PlanLoader, waiting_bytes
from anysize.loading.raw import Normalisation, RawBatch

__all__ = ["EpochPlanner", "Normalisation", "PlanLoader", "RawBatch", "collate", "waiting_bytes"]
