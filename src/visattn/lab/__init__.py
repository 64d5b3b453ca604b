"""What an experiment needs: data, small training runs, counting and measuring.

Every name below is imported when it is first used.
"""

from typing import TYPE_CHECKING

from visattn._lazy import lazy_getattr

_EXPORTS = {
    "DatasetUnavailable": "visattn.lab.data",
    "Formula": "visattn.lab.memory",
    "History": "visattn.lab.train",
    "Images": "visattn.lab.data",
    "LayerReport": "visattn.lab.compare",
    "Overlap": "visattn.lab.scenes",
    "Pass": "visattn.lab.memory",
    "Ratio": "visattn.lab.measure",
    "Scenes": "visattn.lab.scenes",
    "Variable": "visattn.lab.memory",
    "accuracy": "visattn.lab.train",
    "as_tensors": "visattn.lab.data",
    "awaken": "visattn.lab.compare",
    "build_layer": "visattn.lab.compare",
    "content_error": "visattn.lab.compare",
    "count_macs": "visattn.lab.measure",
    "evaluate": "visattn.lab.memory",
    "fit": "visattn.lab.train",
    "garment_mask": "visattn.lab.scenes",
    "hardware": "visattn.lab.measure",
    "inspect_layer": "visattn.lab.compare",
    "largest_map": "visattn.lab.memory",
    "list_layers": "visattn.lab.compare",
    "list_photos": "visattn.lab.photos",
    "load_dataset": "visattn.lab.data",
    "load_photo": "visattn.lab.photos",
    "load_scenes": "visattn.lab.scenes",
    "mean_iou": "visattn.lab.scenes",
    "measure_bytes": "visattn.lab.memory",
    "memory_bytes": "visattn.lab.memory",
    "memory_formulas": "visattn.lab.memory",
    "memory_variables": "visattn.lab.memory",
    "peak_bytes": "visattn.lab.measure",
    "permutation_error": "visattn.lab.compare",
    "photo_credit": "visattn.lab.photos",
    "predict": "visattn.lab.train",
    "ratio": "visattn.lab.measure",
    "receptive_field": "visattn.lab.compare",
    "seconds": "visattn.lab.measure",
    "setup": "visattn.lab.environment",
    "translation_error": "visattn.lab.compare",
    "transposed": "visattn.lab.compare",
    "transposition_error": "visattn.lab.compare",
    "variables_of": "visattn.lab.memory",
}
__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from visattn.lab.compare import LayerReport as LayerReport
    from visattn.lab.compare import awaken as awaken
    from visattn.lab.compare import build_layer as build_layer
    from visattn.lab.compare import content_error as content_error
    from visattn.lab.compare import inspect_layer as inspect_layer
    from visattn.lab.compare import list_layers as list_layers
    from visattn.lab.compare import permutation_error as permutation_error
    from visattn.lab.compare import receptive_field as receptive_field
    from visattn.lab.compare import translation_error as translation_error
    from visattn.lab.compare import transposed as transposed
    from visattn.lab.compare import transposition_error as transposition_error
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
    from visattn.lab.memory import Formula as Formula
    from visattn.lab.memory import Pass as Pass
    from visattn.lab.memory import Variable as Variable
    from visattn.lab.memory import evaluate as evaluate
    from visattn.lab.memory import largest_map as largest_map
    from visattn.lab.memory import measure_bytes as measure_bytes
    from visattn.lab.memory import memory_bytes as memory_bytes
    from visattn.lab.memory import memory_formulas as memory_formulas
    from visattn.lab.memory import memory_variables as memory_variables
    from visattn.lab.memory import variables_of as variables_of
    from visattn.lab.photos import list_photos as list_photos
    from visattn.lab.photos import load_photo as load_photo
    from visattn.lab.photos import photo_credit as photo_credit
    from visattn.lab.scenes import Overlap as Overlap
    from visattn.lab.scenes import Scenes as Scenes
    from visattn.lab.scenes import garment_mask as garment_mask
    from visattn.lab.scenes import load_scenes as load_scenes
    from visattn.lab.scenes import mean_iou as mean_iou
    from visattn.lab.train import History as History
    from visattn.lab.train import accuracy as accuracy
    from visattn.lab.train import fit as fit
    from visattn.lab.train import predict as predict
else:
    __getattr__ = lazy_getattr(__name__, _EXPORTS, globals())


def __dir__() -> list[str]:
    return [*globals(), *_EXPORTS]
