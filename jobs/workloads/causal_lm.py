"""Fine-tuning of causal language models with `transformers`: any model of the hub, or of a folder, on any text.

Without a model, a small one with a vocabulary of bytes; without a text, what every Python has: so nothing needs to be
downloaded to try it. Needs `pip install slipway[lm]`.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import TensorDataset

from jobs.failure import JobFailed
from jobs.workload import Batch, Workload
from platform_app.specs import FailureCause

_EVALUATED_PART = 10
"""Every so many sequences, one is for evaluation."""
_PYTHONS_OWN = (
    "argparse",
    "ast",
    "dataclasses",
    "doctest",
    "inspect",
    "pathlib",
    "statistics",
    "typing",
    "unittest.mock",
)
"""Modules of the standard library whose source is the text, where no other is given."""
_BYTES = 256
_FIELDS = {
    "model": str,
    "text": str,
    "sequence_length": int,
    "lr": float,
    "weight_decay": float,
    "warmup_steps": int,
    "accumulate": int,
    "parallel": str,
    "gradient_checkpointing": bool,
}


class CausalLM(nn.Module):
    """A language model that takes tokens and gives logits, both as tensors: what can be served as it is."""

    def __init__(self, lm: nn.Module) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, tokens: Tensor) -> Tensor:
        """Score what comes next.

        Args:
            tokens: int64, (sequences, length).

        Returns:
            float32, (sequences, length, vocabulary): the logits of the token after each.
        """
        logits: Tensor = self.lm(input_ids=tokens, use_cache=False).logits
        return logits.float()


def make(config: dict[str, Any]) -> Workload:
    """Build the workload. Its metric is `loss`: the mean cross-entropy of the next token, in nats.

    Args:
        config: `model`, a folder or the hub's id, with its tokenizer (absent: two small Llama layers over bytes);
            `text`, a file or a folder of `*.txt` that every worker can read (absent: source of Python's standard
            library); `sequence_length` in tokens (128), `lr` (0.0005), `weight_decay` (0.01), `warmup_steps` (0),
            `accumulate`, micro-batches of a batch (1), `parallel`, `ddp` or `fsdp` (`ddp`), and
            `gradient_checkpointing` (false).

    Raises:
        JobFailed: a field holds what it cannot, or `transformers` is not installed; before anything is on a GPU.
    """
    _require_known(config)
    length = _whole(config, "sequence_length", 128, least=2)
    lm, tokens = _model_and_tokens(config, length)
    if config.get("gradient_checkpointing", False):
        lm.activation_checkpointing_enable({"use_reentrant": False})
    sequences = tokens[: len(tokens) // length * length].view(-1, length)
    if len(sequences) < _EVALUATED_PART:
        _refuse("text", f"it has {len(tokens)} tokens; take at least {_EVALUATED_PART} times sequence_length={length}")
    is_evaluated = torch.arange(len(sequences)) % _EVALUATED_PART == 0
    model = CausalLM(lm)
    optimizer = _optimizer(model, float(config.get("lr", 5e-4)), float(config.get("weight_decay", 0.01)))
    warmup = _whole(config, "warmup_steps", 0, least=0)
    return Workload(
        model=model,
        train_dataset=TensorDataset(sequences[~is_evaluated]),
        eval_dataset=TensorDataset(sequences[is_evaluated]),
        optimizer=optimizer,
        loss=_next_token_loss,
        evaluate=lambda model, batch: {},  # noqa: ARG005
        example_input=sequences[:2].clone(),
        lr_scheduler=LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup) if warmup else None,
        lr_interval="step",
        accumulate=_whole(config, "accumulate", 1, least=1),
        parallel=config.get("parallel", "ddp"),
    )


def _next_token_loss(model: nn.Module, batch: Batch) -> Tensor:
    (tokens,) = batch
    return functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def _optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Decay matrices, and neither biases nor the scales of norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)


def _model_and_tokens(config: Mapping[str, Any], length: int) -> tuple[Any, Tensor]:
    """Load or make the model, on the CPU in fp32, and the text as its tokens, int64."""
    transformers = _transformers()
    text = _text(config.get("text"))
    name = config.get("model")
    if name is None:
        shape = transformers.LlamaConfig(
            vocab_size=_BYTES,
            hidden_size=64,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=max(length, 2048),
            bos_token_id=None,
            eos_token_id=None,
        )
        return transformers.AutoModelForCausalLM.from_config(shape), _bytes_of(text)
    if name.startswith(("/", ".", "~")) and not Path(name).is_dir():
        _refuse("model", f"there is no folder {name} on this worker")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        lm = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:  # as transformers tells of all that it cannot find, reach or read
        reason = str(error).strip().splitlines()[0]
        _refuse("model", f"{name!r} cannot be loaded: {reason}; give a folder, or an id while the hub can be reached")
    most = getattr(lm.config, "max_position_embeddings", None) or length
    if length > most:
        _refuse("sequence_length", f"{name} takes at most {most} tokens; got {length}")
    # The tokenizer's own warning of long texts is about sequences that are not cut, as here they are.
    tokens = tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    return lm, torch.tensor(tokens)


def _bytes_of(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long()


def _text(path: str | None) -> str:
    if path is None:
        sources = (importlib.import_module(name).__file__ for name in _PYTHONS_OWN)
        return "\n".join(Path(source).read_text(encoding="utf-8") for source in sources if source)
    place = Path(path)
    files = sorted(place.rglob("*.txt")) if place.is_dir() else [place]
    try:
        return "\n".join(file.read_text(encoding="utf-8") for file in files)
    except (OSError, UnicodeDecodeError) as error:
        _refuse("text", f"{path} cannot be read as UTF-8 text on this worker: {error}")


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        message = "jobs.workloads.causal_lm needs transformers: pip install 'slipway[lm]', or pip: [transformers]"
        raise JobFailed(FailureCause.IMPORT_FAILED, f"{message}: {error}") from error


def _require_known(config: Mapping[str, Any]) -> None:
    if unknown := sorted(config.keys() - _FIELDS.keys()):
        _refuse(unknown[0], f"it is not known; there are {', '.join(_FIELDS)}")
    for name, value in config.items():
        expected = (int, float) if _FIELDS[name] is float else _FIELDS[name]
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            _refuse(name, f"expected {_FIELDS[name].__name__}, got {value!r}")


def _whole(config: Mapping[str, Any], name: str, default: int, least: int) -> int:
    value = int(config.get(name, default))
    if value < least:
        _refuse(name, f"expected at least {least}, got {value}")
    return value


def _refuse(name: str, message: str) -> NoReturn:
    raise JobFailed(FailureCause.USER_CODE_FAILED, f"config.{name}: {message}")
