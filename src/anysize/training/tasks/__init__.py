"""What a run learns: classes of images, or of their pixels. All that the two do differently is here."""

from anysize.training.tasks.task import Column, Task, task_for

__all__ = ["Column", "Task", "task_for"]
