"""What passes for the same answers, and what does not."""

import pytest

from yoso_cli.errors import RunError
from yoso_cli.export.proof import MASKS, TIMES, Figure, Proof


def proof(file: float, torch: float) -> Proof:
    return Proof((Figure(MASKS, file, torch),), 1, ((64, 64),))


def test_a_file_may_be_as_far_as_the_tolerance_or_as_torchs_own_float32_allows() -> None:
    proof(1e-3, 0.0).require(1e-3, "a.onnx")
    proof(TIMES * 1e-2, 1e-2).require(1e-3, "a.onnx")
    with pytest.raises(RunError, match=r"a.onnx: the file's mask logits differ .* Nothing was written"):
        proof(1.01 * TIMES * 1e-2, 1e-2).require(1e-3, "a.onnx")


@pytest.mark.parametrize("torch", [0.0, float("inf"), float("nan")])
@pytest.mark.parametrize("file", [float("inf"), float("nan")])
def test_what_is_not_finite_never_passes(file: float, torch: float) -> None:
    with pytest.raises(RunError):
        proof(file, torch).require(1e-3, "a.onnx")
