"""Masks that do not lie on their images: moved, mirrored, or paired with a neighbour."""

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import Case
from anysize.doctor.pairing import check_pairing

__all__ = ["ORDER", "probe"]

ORDER = 12
_MOST = 6  # samples: enough to tell, a second or two of work


def probe(case: Case) -> list[Finding]:
    """Correlate the edges of the images with the borders of the masks, at their full size."""
    if not case.is_segmenter or case.is_one_hot:
        return []
    samples = case.originals[:_MOST]
    images = [image.detach().cpu().numpy() for image, _ in samples]
    masks = [mask.detach().cpu().numpy() for _, mask in samples]
    return check_pairing(images, masks)
