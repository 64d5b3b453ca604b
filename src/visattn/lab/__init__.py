"""What an experiment needs: data, small training runs, counting and measuring.

Every name below is imported when it is first used.
"""

from typing import TYPE_CHECKING

from visattn._lazy import lazy_getattr

_EXPORTS = {
    "DatasetUnavailable": "visattn.lab.data",
    "History": "visattn.lab.train",
    "Images": "visattn.lab.data",
    "Ratio": "visattn.lab.measure",
    "accuracy": "visattn.lab.train",
    "as_tensors": "visattn.lab.data",
    "count_macs": "visattn.lab.measure",
    "fit": "visattn.lab.train",
    "hardware": "visattn.lab.measure",
    "list_photos": "visattn.lab.photos",
    "load_dataset": "visattn.lab.data",
    "load_photo": "visattn.lab.photos",
    "peak_bytes": "visattn.lab.measure",
    "photo_credit": "visattn.lab.photos",
    "ratio": "visattn.lab.measure",
    "seconds": "visattn.lab.measure",
    "setup": "visattn.lab.environment",
}
__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from visattn.lab.data import DatasetUnavailable as DatasetUnavailable
    from visattn.lab.data import Images as Images
    from visattn.lab.data import as_tensors as as_tensors
    from visattn.lab.data import load_dataset as load_dataset
    from visattn.lab.environment import setup as setup
    from visattn.lab.measure import Ratio as Ratio
    from visattn.lab.measure import count_macs as count_macs
    from visattn.lab.measure import hardware as hardware
    from visattn.lab.measure import peak_bytes as peak_bytes
    from visattn.lab.measure import ratio as ratio
    from visattn.lab.measure import seconds as seconds
    from visattn.lab.photos import list_photos as list_photos
    from visattn.lab.photos import load_photo as load_photo
    from visattn.lab.photos import photo_credit as photo_credit
    from visattn.lab.train import History as History
    from visattn.lab.train import accuracy as accuracy
    from visattn.lab.train import fit as fit
else:
    __getattr__ = lazy_getattr(__name__, _EXPORTS, globals())


def __dir__() -> list[str]:
    return [*globals(), *_EXPORTS]
