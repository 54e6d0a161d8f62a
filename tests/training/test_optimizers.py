import subprocess
import sys

import pytest
import torch

from keensight.training import optimizers

SETTINGS = {
    "SGD": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "Adam": {"weight_decay": 0.01},
    "AdamW": {"weight_decay": 0.1},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_and_states_are_torchs_to_the_bit(name):
    weights, sides = torch.rand(7, 5), []
    for kind in (getattr(optimizers, name), getattr(torch.optim, name)):
        parameter = torch.nn.Parameter(weights.clone())
        optimizer = kind([parameter], lr=0.1, fused=True, **SETTINGS[name])
        for step in range(4):
            parameter.grad = torch.sin(weights * (step + 1))
            optimizer.step()
            if step == 1:
                optimizer.load_state_dict(optimizer.state_dict())
        optimizer.zero_grad()
        assert parameter.grad is None
        sides.append((parameter.data, optimizer.state_dict()))
    (ours, our_state), (theirs, their_state) = sides
    assert torch.equal(ours, theirs) and our_state["param_groups"] == their_state["param_groups"]
    for slot, tensor in their_state["state"][0].items():
        assert torch.equal(our_state["state"][0][slot], tensor), slot


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_parameters_of_two_types_or_without_a_gradient_are_no_obstacle(name):
    starts, sides = [torch.rand(3, 4), torch.rand(5, dtype=torch.float64), torch.rand(2)], []
    for kind in (getattr(optimizers, name), getattr(torch.optim, name)):
        parameters = [torch.nn.Parameter(each.clone()) for each in starts]
        optimizer = kind([{"params": parameters[:2]}, {"params": parameters[2:]}], lr=0.1, fused=True)
        for parameter in parameters[:2]:
            parameter.grad = torch.cos(parameter.data)
        optimizer.step()
        sides.append(parameters)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*sides, strict=True))
    assert torch.equal(sides[0][2], starts[2]) and not torch.equal(sides[0][1], starts[1])


def test_lbfgs_minimises_as_torchs_does():
    found = []
    for kind in (optimizers.LBFGS, torch.optim.LBFGS):
        point = torch.nn.Parameter(torch.tensor([-1.0, 1.5]))
        optimizer = kind([point], max_iter=50, line_search_fn="strong_wolfe")

        def rosenbrock(point=point, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2
            loss.backward()
            return loss

        optimizer.step(rosenbrock)
        found.append(point.data)
    assert torch.equal(*found) and torch.allclose(found[0], torch.ones(2), atol=1e-3)


@pytest.mark.thorough
def test_training_does_not_wait_for_torchs_compiler():
    program = """if True:
        import sys
        import keensight
        import numpy as np
        from keensight.values import Split, Splits
        size, rows = keensight.Preprocessing(8, 8, 1), np.arange(20)
        part = Split(np.zeros((20, 8, 8, 1), np.uint8), rows, rows % 10, ("",) * 20)
        recipe = keensight.load_recipe("dense", ["epochs=1"])
        model = keensight.build("dense", {}, size, 10, 0)
        assert len(list(keensight.fit(model, Splits(tuple("0123456789"), size, part, part, None), recipe))) == 1
        assert "torch" in sys.modules and "torch._dynamo" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
