"""Why does it not learn? An overfit run on a handful of samples, and one small experiment for each known cause."""

from anysize.doctor.learn.diagnose import diagnose_learning
from anysize.doctor.learn.report import Learned, LearningReport

__all__ = ["Learned", "LearningReport", "diagnose_learning"]
