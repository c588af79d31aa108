"""Writes muon.json: steps of Python's torch.optim.Muon, whose iteration is made to run in float64.

Run by hand, in an environment with:  pip install torch==2.11.0
    python tests/golden/make_muon_fixture.py
"""

import importlib.util
import pathlib

import torch

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("fixtures", HERE / "make_torch_fixtures.py")
fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fixtures)

SHAPES = {"wide": (3, 5), "tall": (6, 4), "square": (4, 4), "other_tall": (6, 4)}
STEPS = 4


def main():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    torch.Tensor.bfloat16 = torch.Tensor.double
    matrices = {name: torch.randn(shape, requires_grad=True) for name, shape in SHAPES.items()}
    case = {f"{name}.start": x.detach().clone() for name, x in matrices.items()}
    optimizer = torch.optim.Muon(matrices.values(), lr=0.05, weight_decay=0.1, momentum=0.9,
                                 adjust_lr_fn="match_rms_adamw")
    for step in range(STEPS):
        for name, x in matrices.items():
            x.grad = torch.randn(x.shape)
            case[f"{name}.gradient.{step}"] = x.grad.clone()
        optimizer.step()
        case |= {f"{name}.after.{step}": x.detach().clone() for name, x in matrices.items()}
    fixtures.write(HERE / "muon.json", {"steps": fixtures.tensors(case)})


if __name__ == "__main__":
    main()
