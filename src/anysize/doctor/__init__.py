"""Read-only checks of what anysize stands on: what was found, what was expected, and what anysize does about it."""

from anysize.doctor.config import DoctorConfig

__all__ = ["DoctorConfig"]
