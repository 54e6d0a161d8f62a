import pytest
import torch
from threadpoolctl import threadpool_info

from keensight.models.tensors import device, on_one_core, uses_bfloat16


@pytest.mark.parametrize(("cuda", "mps", "name"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_a_gpu_is_used_where_torch_finds_one(cuda, mps, name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device().type == name


def test_apples_gpus_take_bfloat16_only_on_request(monkeypatch):
    monkeypatch.setattr("keensight.models.tensors.bfloat16_instructions", lambda: "amx_bf16")
    assert not uses_bfloat16("auto", torch.device("mps")) and uses_bfloat16("auto", torch.device("cpu"))
    assert uses_bfloat16("bfloat16", torch.device("mps"))


def test_numpy_and_torch_use_one_core_for_small_steps():
    def numpys():
        return {each["num_threads"] for each in threadpool_info() if each["internal_api"] == "openblas"}

    before = torch.get_num_threads(), numpys()
    with on_one_core():
        assert torch.get_num_threads() == 1 and numpys() <= {1}
    assert (torch.get_num_threads(), numpys()) == before
