"""Maps of any size after export: torch.export and ONNX, on sizes not seen then."""

import warnings

import onnxruntime
import pytest
import torch

from visattn.mechanisms.coordinate import CoordinateAttention
from visattn.mechanisms.gates import BAM, CBAM, SqueezeExcitation
from visattn.models.mobilenet import mobilenet_v2_coordinate

# A map of one pixel is another program than a larger one: the network of stride 32
# takes images of more than 32 pixels a side.
CASES = {
    "coordinate": (lambda: CoordinateAttention(16), 16, 2, ((9, 11), (14, 5), (8, 21))),
    "se": (lambda: SqueezeExcitation(16), 16, 2, ((9, 11), (14, 5), (8, 21))),
    "cbam": (lambda: CBAM(16), 16, 2, ((9, 11), (14, 5), (8, 21))),
    "bam": (lambda: BAM(16), 16, 2, ((9, 11), (14, 5), (8, 21))),
    "mobilenet_v2_coordinate": (
        lambda: mobilenet_v2_coordinate(num_classes=10, width=0.5),
        3,
        33,
        ((64, 96), (71, 50), (224, 160)),
    ),
}


def alive(make):
    """A network in evaluation mode, with statistics as after some training."""
    torch.manual_seed(0)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
    if hasattr(model, "classifier"):
        torch.nn.init.normal_(model.classifier.weight, std=0.1)
    return model


def images(channels, size, number):
    generator = torch.Generator().manual_seed(size[0])
    return torch.randn(number, channels, *size, generator=generator)


def assert_same(run, model, channels, sizes):
    """The exported program answers as the model does, on batches of three."""
    spread = []
    for size in sizes:
        x = images(channels, size, number=3)
        with torch.no_grad():
            expected = model(x)
        torch.testing.assert_close(run(x), expected, rtol=0, atol=1e-5)
        spread.append(expected.std().item())
    assert min(spread) > 1e-3, "answers that are all alike prove nothing"


@pytest.mark.compiled
@pytest.mark.parametrize("case", CASES)
def test_export(case, tmp_path):
    """One program for all sizes; the first size is the one seen at export."""
    make, channels, least, sizes = CASES[case]
    model = alive(make)
    axes = {
        0: torch.export.Dim("batch"),
        2: torch.export.Dim("height", min=least),
        3: torch.export.Dim("width", min=least),
    }
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            model, (images(channels, sizes[0], 2),), dynamic_shapes={"x": axes}
        )
        torch.onnx.export(program, (), path, dynamo=True, verbose=False)
    assert_same(program.module(), model, channels, sizes)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())

    def onnx(x):
        return torch.from_numpy(session.run(None, {name: x.numpy()})[0])

    assert_same(onnx, model, channels, sizes)
