"""Fine-tuning of language models, with a small one, and with one that was saved to a folder: nothing is downloaded."""

import sys

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from jobs.failure import JobFailed
from jobs.loop import fit
from jobs.publish import requirements
from jobs.seat import Seat
from jobs.sharding import blocks
from jobs.workloads import causal_lm
from platform_app.specs import FailureCause
from tests.unit.jobs import tiny

ALONE = Seat(torch.device("cpu"))
SHORT = {"sequence_length": 16, "lr": 0.003, "warmup_steps": 3, "accumulate": 2}


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors on a busy machine: threads would wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the house that jack built is the house that stands. " * 40)
    return str(path)


@pytest.fixture
def saved_model(tmp_path):
    """Save a model and its tokenizer as `save_pretrained` does."""
    words = {word: i for i, word in enumerate(["[UNK]", "the", "house", "that", "jack", "built", "is", "stands", "."])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    folder = tmp_path / "model"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(folder)
    shape = GPT2Config(vocab_size=len(words), n_positions=32, n_embd=16, n_layer=2, n_head=2)
    GPT2LMHeadModel(shape).save_pretrained(folder)
    return folder


def train(config, host, resume_from=None):
    spec = tiny.spec(epochs=2, batch_size=16)
    workload = causal_lm.make(config)
    torch.manual_seed(0)
    for parameter in workload.model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    is_done = fit(spec, workload, ALONE, ("step", resume_from) if resume_from else None, host)
    return workload.model.state_dict() if is_done else train(config, host, host.saved[-1])


def test_a_model_that_learns_bytes_guesses_them_better_with_every_epoch(text):
    host = tiny.Recorder()
    train(SHORT | {"text": text}, host)
    assert host.metrics[1]["loss"] < host.metrics[0]["loss"] < 5.6  # ln 256 is that of one that knows nothing


def test_a_run_that_leaves_ends_bit_for_bit_as_one_that_never_stopped(text):
    config = SHORT | {"text": text, "gradient_checkpointing": True}
    whole, parts = train(config, tiny.Recorder()), train(config, tiny.Recorder({3, 9}))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_loss_is_that_of_guessing_each_next_token(text):
    workload = causal_lm.make(SHORT | {"text": text})
    tokens = workload.example_input
    logits = workload.model.eval()(tokens)
    assert (tokens.dtype, logits.dtype, logits.shape) == (torch.int64, torch.float32, (2, 16, 256))
    chances = logits.log_softmax(dim=-1)[:, :-1].gather(2, tokens[:, 1:, None])
    assert workload.loss(workload.model, [tokens]).item() == pytest.approx(-chances.mean().item(), rel=1e-5)


def test_without_a_text_it_learns_what_every_python_has_the_same_each_time():
    one, other = (causal_lm.make({"sequence_length": 64}) for _ in range(2))
    assert len(one.train_dataset) > 1000
    assert torch.equal(one.train_dataset.tensors[0], other.train_dataset.tensors[0])


def test_a_model_in_a_folder_is_loaded_with_its_tokenizer(saved_model, text):
    workload = causal_lm.make({"model": str(saved_model), "text": text, "sequence_length": 20})
    assert workload.model.lm.config.model_type == "gpt2"
    tokens = workload.example_input[0].tolist()
    assert tokens[:12] == [1, 2, 3, 4, 5, 6, 1, 2, 3, 7, 8, 1]
    norms, matrices = (
        {group["weight_decay"]: {p.dim() for p in group["params"]} for group in workload.optimizer.param_groups}[decay]
        for decay in (0.0, 0.01)
    )
    assert (norms, matrices) == ({1}, {2})


def test_a_file_or_a_folder_of_texts_is_read(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(name * 100)
    (tmp_path / "c.bin").write_bytes(b"\xff")
    of_folder = causal_lm.make({"text": str(tmp_path), "sequence_length": 10})
    of_file = causal_lm.make({"text": str(tmp_path / "a.txt"), "sequence_length": 10})
    assert (len(of_folder.train_dataset), len(of_file.train_dataset)) == (18, 9)
    assert of_folder.example_input[0].tolist() == [ord("a")] * 10


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": "/nowhere/llama"}, "config.model: there is no folder /nowhere/llama"),
        ({"text": "/nowhere.txt"}, "config.text: /nowhere.txt cannot be read"),
        ({"text": __file__, "sequence_length": 4096}, "config.text: it has .* tokens; take at least 10 times"),
        ({"lr": "fast"}, "config.lr: expected float, got 'fast'"),
        ({"accumulate": 0}, "config.accumulate: expected at least 1, got 0"),
        ({"sequence_length": 1}, "config.sequence_length: expected at least 2, got 1"),
        ({"learning_rate": 0.1}, "config.learning_rate: it is not known; there are model, text"),
        ({"parallel": "tensor"}, "parallel: expected ddp or fsdp, got 'tensor'"),
    ],
)
def test_bad_input_is_refused_by_its_field(config, message):
    with pytest.raises(JobFailed, match=message):
        causal_lm.make(config)


def test_a_folder_without_a_model_is_refused_by_its_name(tmp_path):
    with pytest.raises(JobFailed, match=r"config.model: '.*' cannot be loaded: "):
        causal_lm.make({"model": str(tmp_path)})


def test_sequences_longer_than_the_model_takes_are_refused(saved_model, text):
    with pytest.raises(JobFailed, match=r"config.sequence_length: .* takes at most 32 tokens; got 40"):
        causal_lm.make({"model": str(saved_model), "text": text, "sequence_length": 40})


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # Python then finds none
    with pytest.raises(JobFailed, match=r"needs transformers: pip install 'slipway\[lm\]'") as refused:
        causal_lm.make({})
    assert refused.value.cause is FailureCause.IMPORT_FAILED


def test_a_published_model_pins_the_libraries_that_its_classes_come_from():
    names = [pin.partition("==")[0] for pin in requirements(causal_lm.make(SHORT).model)]
    assert names == ["mlflow", "torch", "transformers"]
    assert [pin.partition("==")[0] for pin in requirements(tiny.make({}).model)] == ["mlflow", "torch"]


def test_a_sharded_model_is_sharded_by_its_layers():
    assert [type(block).__name__ for block in blocks(causal_lm.make(SHORT).model)] == ["LlamaDecoderLayer"] * 2
