"""The report of a data set as one HTML file that needs nothing else."""

from anysize.doctor.page.write import render_page, write_page

__all__ = ["render_page", "write_page"]
